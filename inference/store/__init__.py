"""What is kept, and how: SQL statements, tensors, files, wake-ups, history's outbox."""
