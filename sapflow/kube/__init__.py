"""The client of Kubernetes API servers, for the operator, the chart's hooks, the driver's pod and the command line."""
