"""Prepares raw data for training: reads it, fits and applies steps over its columns, and writes blocks.

`batch` is what is read, `step` the seam that every step implements, `record` how what a step counts and learns travels
and is kept, `pipeline` a list of steps. Nothing here loads torch.
"""
