"""The spec that a user writes: the fields of a TrainingJob, their rules, and messages about their problems."""
