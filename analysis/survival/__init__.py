"""Prognosis: curves, Cox models and their diagnostics, competing risks, measures over time."""
