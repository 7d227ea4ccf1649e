"""A synthetic community with known truth, written as files in real source formats."""
