"""Browsers that compute a stage beside the one that has it, to go on at once when that one is lost."""
