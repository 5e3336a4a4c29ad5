"""The two stores behind `sapflow.objects.store.Store`: a directory, and S3/MinIO."""
