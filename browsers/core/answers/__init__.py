"""Whether what a browser answers is right: known answers, agreement, proofs."""
