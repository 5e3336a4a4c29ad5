"""How the floats of a contribution become bytes, and bytes floats again: one codec a module.

To add one: a module with a Codec, and its line in `codecs.registry`.
"""
