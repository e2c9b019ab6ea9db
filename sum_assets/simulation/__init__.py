"""Monte Carlo simulation of a full run over devices that differ in speed and fail. No Dagster, PostgreSQL or torch."""
