"""What a browser's worker does with a step: fetch, compute, store, record."""
