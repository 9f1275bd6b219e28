"""The contract every Ridgeline service shares.

Schemas, frames, events, topics, settings, errors and metrics.

It imports none of `collectors`, `streams`, `advisor`, `dashboards`.
"""

__version__ = "0.1.0"
