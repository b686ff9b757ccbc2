"""What a model is worth: metrics with intervals, by groups of images, under damage."""
