"""Attention for greedy decoding, registered with transformers: torch's kernel on GPUs, matrix products on CPUs."""

from contextlib import AbstractContextManager
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

from sum_assets.summarizer.engines.decoding.padding import aligned

#: The name under which transformers finds `_attend`. transformers makes no masks for it: the caller passes them.
ATTENTION = "sum_assets"
#: Kernels that take any shape at once. cuDNN's needs a plan for each shape that a thread has not seen: on an H200 that
#: took longer than a step (https://github.com/pytorch/pytorch/pull/155958, docs/evidence/gpu.md).
_UNPLANNED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
#: Queries that attend together on a CPU: what they need stays in the CPU's cache.
_BLOCK_QUERIES = 128


def for_new_shapes() -> AbstractContextManager[None]:
    """Attend without cuDNN, where most calls have a shape of their own. Where one recurs, cuDNN is fastest."""
    return sdpa_kernel(_UNPLANNED)


def _attend(
    module: Any,
    query: Tensor,
    key: Any,
    value: Any,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend; without a mask, each query of a causal layer sees the keys up to its own.

    Shapes: query is rows x heads x queries x head size; key and value are rows x key heads x keys x head size, or
    lists with one such tensor for each block of rows; the output is rows x queries x heads x head size. Where there
    are more keys than queries, the queries are the last. Where there are fewer key heads, several heads share one.
    """
    if isinstance(key, list):
        assert attention_mask is not None
        sizes, split = [len(rows) for rows in key], cast(Any, torch.split)
        parts = zip(split(query, sizes), key, value, split(attention_mask, sizes), strict=True)
        blocks = [_attend_on_cpu(q, k, v, mask[..., : k.shape[2]], scaling, False) for q, k, v, mask in parts]
        return torch.cat(blocks).transpose(1, 2), None
    causal = attention_mask is None and query.shape[2] > 1 and module.is_causal
    if position_bias is not None:
        attention_mask = _joint_mask(position_bias, attention_mask)
    attend = _attend_on_cpu if query.device.type == "cpu" else _attend_fused
    output = attend(query, key, value, attention_mask, scaling, causal)
    return output.transpose(1, 2).contiguous(), None


def _joint_mask(position_bias: Any, mask: Tensor | None) -> Tensor:
    """Return the sum of a bias, 1 x heads x queries x keys, and a mask, in the order that kernels read.

    transformers hands the same bias to all layers, with the heads of a key beside each other, which torch's fused
    kernels refuse. The sum is kept with the bias for the other layers.
    """
    kept: tuple[Tensor | None, Tensor] | None = getattr(position_bias, "sum_assets_joint", None)
    if kept and kept[0] is mask:
        return kept[1]
    rows, (_, heads, queries, keys) = 1 if mask is None else len(mask), position_bias.shape
    joint: Tensor = position_bias.new_empty(rows, heads, queries, aligned(keys))[..., :keys]
    torch.add(position_bias, 0 if mask is None else mask, out=joint)
    position_bias.sum_assets_joint = mask, joint
    return joint


def _attend_fused(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None, causal: bool
) -> Tensor:
    """Call torch's kernel. Shared key heads are repeated only where there are several queries."""
    rows, heads, length, size = query.shape
    groups = heads // key.shape[1]
    if groups > 1 and length == 1 and (mask is None or mask.shape[1] == 1):
        query = query.reshape(rows, key.shape[1], groups, size)
    elif groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    before = key.shape[2] - length if causal else 0
    if before:  # the kernel aligns queries with the first keys
        query = pad(query, (0, 0, before, 0))
    output = scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal, scale=scaling)
    return output[:, :, before:].reshape(rows, heads, length, -1)


def _attend_on_cpu(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None, causal: bool
) -> Tensor:
    """Multiply matrices block by block, which takes half of the time of torch's own kernel for CPUs.

    A block of queries leaves out the keys after it. In a product with a single query, the keys are the left factor:
    oneDNN would copy a right one.
    """
    rows, heads, length, size = query.shape
    groups, keys = heads // key.shape[1], key.shape[2]
    query = query * (size**-0.5 if scaling is None else scaling)
    query = query.reshape(rows * key.shape[1], groups, length, size)  # (rows * key heads) x groups x queries x size
    key, value = key.flatten(0, 1), value.flatten(0, 1)  # (rows * key heads) x keys x size
    output = query.new_empty(*query.shape[:3], value.shape[2])
    for first in range(0, length, _BLOCK_QUERIES):
        last = min(first + _BLOCK_QUERIES, length)
        visible = keys - length + last if causal else keys
        block = query[:, :, first:last].flatten(1, 2)  # (rows * key heads) x (groups * block) x size
        if length == 1:
            scores = torch.bmm(key, block.transpose(1, 2)).transpose(1, 2)
        else:
            scores = torch.bmm(block, key[:, :visible].transpose(1, 2))
        scores = scores.reshape(rows, heads, last - first, visible)
        if mask is not None:
            scores = scores + mask[:, :, first:last] if mask.shape[2] > 1 else scores + mask
        elif causal:
            scores[..., first - last :] += _causal_mask(last - first, scores.dtype)
        weights = scores.softmax(-1).view(len(key), -1, visible)  # (rows * key heads) x (groups * block) x keys
        products = torch.bmm(weights, value[:, :visible])
        output[:, :, first:last] = products.view(-1, groups, last - first, value.shape[2])
    return output.view(rows, heads, length, -1)


@cache
def _causal_mask(length: int, dtype: torch.dtype) -> Tensor:
    """Return what to add to scores, queries x keys, so that no query sees a key after its own."""
    return torch.full((length, length), float("-inf"), dtype=dtype).triu(1)


AttentionInterface.register(ATTENTION, _attend)
