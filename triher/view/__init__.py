"""The patient browser: a page on this machine alone that shows every prediction of a run beside its images."""
