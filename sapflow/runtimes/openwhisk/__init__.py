"""Functions as OpenWhisk actions: the API, limits of a namespace, actions, records of activations, the sender."""
