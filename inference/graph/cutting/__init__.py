"""Cut a graph into layers and blocks: where it may be cut, what a piece holds."""
