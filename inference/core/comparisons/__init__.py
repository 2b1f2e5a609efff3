"""Comparisons of a model over browsers, decided: whose turn it is, what a cell is, what differs."""
