"""What the steps of every algorithm stand on: a job's context, calls of functions, the routes of contributions."""
