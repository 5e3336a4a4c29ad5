"""The parts of what is said of a served model: its decision, how it is scaled, guarded and replaced."""
