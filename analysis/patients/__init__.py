"""Who the patients are: flow, table 1, groups, matched pairs, and single ones in words and pictures."""
