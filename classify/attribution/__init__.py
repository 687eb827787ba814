"""Why the locked model said what it said: slopes, Shapley values, neighbors and pictures of the embedding space."""
