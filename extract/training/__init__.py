"""Training an encoder end to end on lesion slices."""
