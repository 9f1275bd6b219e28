"""Streams against their bounds and their peers."""
