"""Figures as SVG that is the same on every run."""
