"""What the chart runs once, beside the operator: making the bucket, checking the cluster, uninstalling."""
