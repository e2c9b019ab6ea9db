"""Asks for the quantization of torchao, without what it says of itself."""

import logging

from transformers import TorchAoConfig


def torchao_int8() -> TorchAoConfig:
    """Return how transformers is to quantize weights and activations to 8 bits."""
    before = logging.root.manager.disable
    # Of libraries of other devices, and of its own old calls of torch: nothing that a user could change.
    logging.disable(logging.WARNING)
    try:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig
    finally:
        logging.disable(before)
    return TorchAoConfig(Int8DynamicActivationInt8WeightConfig(set_inductor_config=False))
