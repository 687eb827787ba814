"""Predictions and maps as DICOM, next to the series that they come from: for research, never for diagnosis."""
