"""Several workers of one model: processes on this host, or actors on a Ray cluster."""
