"""Tests of Ridgeline; the folders mirror the packages."""
