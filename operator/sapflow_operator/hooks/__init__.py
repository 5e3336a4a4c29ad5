"""One-time jobs of the chart: making the bucket, checking the cluster, uninstalling."""
