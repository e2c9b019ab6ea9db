"""Simulates a full run over a fleet of devices that differ in speed and fail. No Dagster, no PostgreSQL, no torch."""
