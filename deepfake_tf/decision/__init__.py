"""From a network's outputs to a probability, a label and a verdict."""
