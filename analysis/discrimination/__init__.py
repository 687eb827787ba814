"""How well predictions tell the classes apart, alone, against each other and in subgroups."""
