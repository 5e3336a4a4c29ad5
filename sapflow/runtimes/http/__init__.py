"""Invocations over HTTP: the body of a request, the meaning of an answer, and two clients."""
