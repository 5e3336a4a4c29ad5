"""The driver of one job, as it runs in its pod."""
