"""The engines: each takes token ids, or the texts themselves, and returns summaries as they finish."""
