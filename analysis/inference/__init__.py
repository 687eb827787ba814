"""Intervals, resampling and p values that all statements share."""
