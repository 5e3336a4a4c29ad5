"""What serves a ModelService: versions, their roll-out, and what is read of them."""
