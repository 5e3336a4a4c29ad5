"""The Kubernetes operator: TrainingJobs become Knative Services, a driver and credentials of their own."""
