"""Whether the rows of a batch may be computed apart."""
