"""Reporting checklists, filled from the run as far as the run can answer them."""
