"""The driver of a job in its pod."""
