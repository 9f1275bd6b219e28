"""Exactly-once effect under fire: seeded kills of everything, compared with a plain computation."""
