"""Choosing before and while a job runs: the merge tree and shards, memory sizes, the cells of a placed job."""
