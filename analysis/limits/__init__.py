"""What may not be concluded from a run."""
