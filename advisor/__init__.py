"""Detections and history -> priced, explained advice -> people."""
