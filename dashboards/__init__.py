"""Grafana dashboards as Python: built to JSON, provisioned by files or pushed."""
