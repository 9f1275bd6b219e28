"""The contract every Ridgeline service shares: schemas, frames, events, topics, settings, errors, metrics.

It imports none of `collectors`, `streams`, `advisor`, `dashboards`.
"""

__version__ = "0.1.0"
