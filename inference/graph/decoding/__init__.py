"""Decoders with a cache: their states found, cut into stages, run natively for comparison."""
