"""The number of this release, where the lowest layers find it."""

RELEASE = "0.1.0"
