"""What the processes of a stack have in common: what is imported for all, how each says that it is ready."""
