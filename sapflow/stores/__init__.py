"""The two stores behind `sapflow.store.Store`: a directory, and S3/MinIO."""
