"""Whether probabilities mean what they say, and what could mend them."""
