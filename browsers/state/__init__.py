"""Live state in Redis that all processes share: who lives, who is drained, breakers."""
