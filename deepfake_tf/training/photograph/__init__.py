"""Training the photograph detector: random views, cached features, heads, selection by repository."""
