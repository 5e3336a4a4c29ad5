"""Readers of file formats, one a module: each takes the files of a source and yields chunks front to back."""
