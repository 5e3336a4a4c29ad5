"""Data: sources are cut once into blocks (`blocks`), and training reads only blocks (`sampler`, `reader`).

What training needs (`manifest`, `sampler`, `reader`) stands on numpy alone.
"""
