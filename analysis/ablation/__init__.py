"""Ablations: cells compared with the base on the same patients, and what the axes explain."""
