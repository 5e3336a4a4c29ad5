"""What a function and its sender say to each other through OpenWhisk, beside requests and replies."""

NO_FUNCTION = "the action's parameters do not make a function"
"""How the error of a function's `/init` begins if a parameter is missing or wrong: no other try can help."""
