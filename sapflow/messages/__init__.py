"""What the driver asks of functions and what they answer."""
