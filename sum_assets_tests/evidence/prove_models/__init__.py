"""Proves that engines write what `generate` writes: families of tiny models, generation rules, batch sizes."""
