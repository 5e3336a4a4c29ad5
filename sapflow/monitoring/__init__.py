"""What people and Prometheus see of a job: progress, the live display, metrics, the report."""
