"""Telemetry frames on Kafka -> base windows in the store and detections, by a Faust worker."""
