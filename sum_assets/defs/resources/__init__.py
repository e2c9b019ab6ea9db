"""Run configuration, turned into objects."""

from sum_assets.defs.resources.gpu import GpuResource
from sum_assets.defs.resources.postgres import PostgresResource
from sum_assets.defs.resources.summarizer import SummarizerResource, default_summarizer

__all__ = ["GpuResource", "PostgresResource", "SummarizerResource", "default_summarizer"]
