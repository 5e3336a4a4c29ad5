"""The same network under other servers, each run by the Python of its own virtual environment."""
