"""The world -> Kafka: one module per source, one row per device and instant."""
