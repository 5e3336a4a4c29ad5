"""Invocations over HTTP: encoding requests, interpreting answers, and two clients."""
