"""What users do with jobs: run them on this machine, handle them in a cluster, and use trained models."""
