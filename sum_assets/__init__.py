"""Summarize a corpus of scientific abstracts in PostgreSQL as partitioned Dagster assets."""
