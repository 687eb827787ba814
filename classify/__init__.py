"""From a feature store to calibrated predictions and a locked bundle; needs no torch."""
