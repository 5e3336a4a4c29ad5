"""Local steps: workers take several optimiser steps of their own, and the root takes the mean of their models."""
