"""The synthetic breast DCE-MRI cohort whose truth is known, as NIfTI or DICOM."""
