"""How a stage goes on elsewhere after a short pause: standbys that follow it, strides through its log."""
