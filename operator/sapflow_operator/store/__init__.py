"""The operator's work in object stores: credentials, their policy, and the objects of finished and deleted jobs."""
