"""Judge predictions: discrimination, calibration, prognosis, figures and the report."""
