"""What a user writes: the fields of a TrainingJob, their rules, and what is wrong with a document in words."""
