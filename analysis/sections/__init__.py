"""The sections of the report, each from the numbers of its part."""
