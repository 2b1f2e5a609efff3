"""What becomes of a step: claimed, recorded, verified, joined, sent again, ended, swept up."""
