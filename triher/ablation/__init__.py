"""Ablations: a lattice of configurations becomes a graph in which equal work is done once."""
