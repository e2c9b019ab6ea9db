"""Reads and writes of the corpus: psycopg over the statements in `sql/`, no Dagster, no torch."""
