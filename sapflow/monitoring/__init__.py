"""What people and Prometheus see of a job: progress, the live display, metrics and the report."""
