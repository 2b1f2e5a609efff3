"""Text generation: what a decoder's stages take and give, what a caller may ask, what becomes of it. Pure."""
