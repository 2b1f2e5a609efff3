"""Models and their plans: registered, cut once, with known answers, until they are removed."""
