"""What is measured of texts: where a token's time goes, long prompts, drafted tokens, checkpoints, WebGPU."""
