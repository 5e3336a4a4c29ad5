"""Data: sources are cut once into blocks (`blocks`), and training reads only blocks (`sampler`).

The modules that training needs (`manifest`, `sampler`) depend on numpy alone.
"""
