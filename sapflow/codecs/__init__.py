"""Codecs encode the floats of a contribution as bytes, and decode them again. Each is a module.

A new codec is a module with a Codec, and a line in `codecs.registry`.
"""
