"""The records that a job's driver writes: commits, plans, and the state of the search for a memory size."""
