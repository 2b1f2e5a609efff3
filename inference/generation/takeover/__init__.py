"""How a stage goes on elsewhere after a short pause: standbys, strides, what becomes of what it gives."""
