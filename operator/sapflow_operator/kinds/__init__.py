"""The custom resources: their definitions, and what each kind owns."""
