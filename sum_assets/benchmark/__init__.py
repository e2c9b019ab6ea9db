"""Measures configurations side by side: sweeps, cells in processes of their own, statistics, reports. No Dagster."""
