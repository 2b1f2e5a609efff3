"""What the families are drawn from: attention, activations, positions, quantised weights."""
