"""Readers of file formats, one per module. Each takes the files of a source and yields chunks front to back."""
