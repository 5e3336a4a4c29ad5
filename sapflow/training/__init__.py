"""What trains: the only place besides sapflow.models that imports torch."""
