"""What `make bench` measures: overheads with the browser's own compute subtracted, beside baselines."""
