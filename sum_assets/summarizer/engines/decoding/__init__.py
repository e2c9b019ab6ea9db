"""Greedy decoding with a KV cache written in place; `Decoder` is its front door."""

from sum_assets.summarizer.engines.decoding.capture import capture_cuda_graph
from sum_assets.summarizer.engines.decoding.decoder import Decoder
from sum_assets.summarizer.engines.decoding.families import can_capture, can_decode
from sum_assets.summarizer.engines.decoding.padding import padded

__all__ = ["Decoder", "can_capture", "can_decode", "capture_cuda_graph", "padded"]
