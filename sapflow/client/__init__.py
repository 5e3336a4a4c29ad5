"""Jobs as a user of Sapflow handles them: runs on this machine, jobs of a cluster, predictions of a trained model."""
