"""Where a step goes: the pool as it is, wishes, history's advice, the choice, the message."""
