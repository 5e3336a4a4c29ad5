"""What a job's driver writes down: commits, plans, and where the search for a memory size stands."""
