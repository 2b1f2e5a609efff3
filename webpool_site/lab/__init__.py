"""What measures and hurts the product, and is no part of it."""
