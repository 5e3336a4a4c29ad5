"""The driver calls the functions of each step of a job. Everything that it knows is in the store."""
