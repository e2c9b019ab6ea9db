"""Turns files of abstracts into rows of the corpus table. No Dagster, no torch."""
