"""What `demo` shows on a pool that it has started; each part says what it does, and what came of it."""
