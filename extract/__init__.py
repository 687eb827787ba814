"""From volumes to slabs to a feature store; the only package that imports torch."""
