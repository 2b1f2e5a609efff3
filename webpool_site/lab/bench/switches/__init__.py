"""Breakers and history taken out of a running pool and put back, to measure what each costs."""
