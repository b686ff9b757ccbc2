"""Labelled images: where they come from, how they are split, and the tf.data pipeline."""
