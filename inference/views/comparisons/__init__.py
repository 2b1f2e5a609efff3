"""Comparisons over HTTP: `/api/comparisons/`, and a model's page of them in the admin."""
