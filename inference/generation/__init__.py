"""Sessions that write text: placed, stepped, logged, recovered, told to who listens."""
