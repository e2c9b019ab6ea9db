"""Reads and writes PostgreSQL: psycopg over the statements in `sql/`. No Dagster, no torch."""
