"""A run directory that can be cut and resumed, and what fills it."""
