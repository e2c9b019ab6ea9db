"""Run configuration, turned into objects."""

from sum_assets.resources.gpu import GpuResource
from sum_assets.resources.postgres import PostgresResource
from sum_assets.resources.summarizer import SummarizerResource, default_summarizer

__all__ = ["GpuResource", "PostgresResource", "SummarizerResource", "default_summarizer"]
