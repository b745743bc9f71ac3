"""Published quality heuristics: C4, Gopher, FineWeb; and rules for code."""
