"""The embedded stack: Kafka broker, ClickHouse gateway, supervisor.

No second code path: the services meet it over the same wire as production.
"""
