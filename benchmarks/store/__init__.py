"""What the store costs: bytes a sample, milliseconds a query, seconds a rollup."""
