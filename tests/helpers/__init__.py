"""A simulated machine for whole jobs: real driver, real handlers, real store; virtual time and chosen faults."""
