"""Proves summarizing on one GPU: what is written, what happens when it fails, and how fast it is."""
