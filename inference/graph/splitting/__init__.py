"""Split matrices over browsers: which may be, what follows, the parts written."""
