"""The Kubernetes operator: makes Knative Services, a driver and credentials for each TrainingJob."""
