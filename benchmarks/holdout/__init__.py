"""Measured points that no fit has seen, and how far the models are from them."""
