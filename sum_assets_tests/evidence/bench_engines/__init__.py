"""Compares engines side by side: `make bench-engines`."""
