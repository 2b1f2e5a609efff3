"""Texts under faults: a campaign of them, hurt one by one, and callers who have them written under fire."""
