"""Image files other than DICOM: NIfTI, NRRD, MetaImage."""
