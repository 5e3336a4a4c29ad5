"""The implementations of `protocol.Store`: a directory, S3 or MinIO, and the store of a function in a cell."""
