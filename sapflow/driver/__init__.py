"""The driver: walks a job's step graph, holds nothing that the store does not."""
