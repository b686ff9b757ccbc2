"""From a training run to what is deployed: SavedModel, its model card and warm-up requests."""
