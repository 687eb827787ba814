"""DICOM exams and segmentations, read by their own geometry."""
