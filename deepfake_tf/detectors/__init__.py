"""A module a detector: what it sees of an image, its network, its recipes."""
