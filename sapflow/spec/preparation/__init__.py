"""What a user writes under `spec.data.prepare`: how raw data becomes samples, and the rules between its fields."""
