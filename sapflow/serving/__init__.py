"""Serving: from raw input to a decision, by the fitted preparation, the model and what is decided of its outputs.

raw input ── input_columns ──► Batch ── preparation ──► features ── network ──► outputs ── decisions ──► answers

Nothing here loads torch, but for models that numpy cannot compute (`network`), and nothing knows a web framework: `app`
is a plain ASGI application.
"""
