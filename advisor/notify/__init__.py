"""Advice and critical detections to people: chat by apprise, marks in Grafana."""
