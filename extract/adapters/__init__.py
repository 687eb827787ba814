"""One module a layout of public or private data: from its table and file names to rows of a cohort table."""
