"""Scoring images: one `Detector`, whichever engine runs the model."""
