"""Why the model said so: maps over slices with their sanity tests, attributions, and projections, for a run."""
