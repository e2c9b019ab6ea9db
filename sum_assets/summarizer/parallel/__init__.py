"""Several workers of one model: processes on this host, or actors that Ray places."""
