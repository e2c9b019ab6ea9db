"""Compares configurations: sweeps, cells, the quality gate, projections and the report. No Dagster."""
