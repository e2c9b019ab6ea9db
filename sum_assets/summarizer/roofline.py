"""How fast a device can write summaries at most: a roofline from the model's work and the device's rates.

S. Williams, A. Waterman, D. Patterson: Roofline. Communications of the ACM 52 (4), 2009. The formula is in
docs/explanation/roofline.md.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True)
class Lengths:
    """The real tokens of summaries, without padding, as the sums that the formula needs."""

    rows: int = 0
    inputs: int = 0
    input_pairs: int = 0
    outputs: int = 0
    #: Tokens that the generated ones look back at: of their inputs, and of what was written before.
    read_inputs: int = 0
    read_outputs: float = 0.0

    def add(self, input_tokens: int, output_tokens: int) -> None:
        """Count one summary."""
        self.rows += 1
        self.inputs += input_tokens
        self.input_pairs += input_tokens**2
        self.outputs += output_tokens
        self.read_inputs += input_tokens * output_tokens
        self.read_outputs += output_tokens**2 / 2


@dataclass(frozen=True, slots=True)
class ModelWork:
    """What a model computes and reads. A multiplication and an addition are two FLOPs.

    `prompt_parameters` and `prompt_pair_flops` are spent on each input token and on each pair of them;
    `step_parameters` and `step_pair_flops` on each generated token and on each token that it looks back at;
    `cached_values` are the keys and values of one token.
    """

    prompt_parameters: int
    prompt_pair_flops: int
    step_parameters: int
    step_pair_flops: int
    cached_values: int


@dataclass(frozen=True, slots=True)
class Rates:
    """What a device reached: FLOPs and bytes per second."""

    flops: float
    bytes: float

    def __add__(self, other: "Rates") -> "Rates":
        return Rates(self.flops + other.flops, self.bytes + other.bytes)


@dataclass(frozen=True, slots=True)
class Share:
    """How much of the limit was reached, from 0 to 1, and what takes most of the time; or None and the reason."""

    value: float | None
    binds: Literal["compute", "memory", "overhead"] | None = None
    reason: str = ""

    def __str__(self) -> str:
        return f"unknown: {self.reason}" if self.value is None else f"{self.value:.2%}, {self.binds} binds"


@dataclass(frozen=True, slots=True)
class Roofline:
    """The limit of a model on its devices.

    `batch_size` is in rows. `batch_tokens`, where set, limits it too, and counts `max_output_tokens` for each row.
    """

    work: ModelWork
    rates: Rates
    weight_bytes: float
    value_bytes: int
    batch_size: int
    batch_tokens: int | None = None
    max_output_tokens: int = 0
    beams: int = 1

    def bounds(self, lengths: Lengths) -> tuple[float, float]:
        """Return the least seconds that are bound by compute and by memory: prompts and steps each by one of them."""
        work, rates = self.work, self.rates
        looked_at = lengths.read_inputs + lengths.read_outputs
        rows = float(self.batch_size)
        if self.batch_tokens is not None and lengths.outputs:
            rows = min(rows, self.batch_tokens / (lengths.read_inputs / lengths.outputs + self.max_output_tokens))
        rows = max(1.0, min(rows, lengths.rows))
        prompt_flops = 2 * work.prompt_parameters * lengths.inputs + work.prompt_pair_flops * lengths.input_pairs
        prompt_bytes = work.prompt_parameters * self.weight_bytes * lengths.rows / rows
        step_flops = self.beams * (2 * work.step_parameters * lengths.outputs + work.step_pair_flops * looked_at)
        # Beams may share the keys and values of their input.
        cache = work.cached_values * self.value_bytes * (lengths.read_inputs + self.beams * lengths.read_outputs)
        step_bytes = work.step_parameters * self.weight_bytes * lengths.outputs / rows + cache
        compute = memory = 0.0
        for flops, size in ((prompt_flops, prompt_bytes), (step_flops, step_bytes)):
            if flops / rates.flops >= size / rates.bytes:
                compute += flops / rates.flops
            else:
                memory += size / rates.bytes
        return compute, memory


def share_of_limit(roofline: Roofline | str, lengths: Lengths, seconds: float) -> Share:
    """Return the share of the limit that was reached with so many seconds, the model loaded."""
    if isinstance(roofline, str):
        return Share(None, reason=roofline)
    if not lengths.outputs:
        return Share(None, reason="nothing was generated")
    compute, memory = roofline.bounds(lengths)
    if (overhead := seconds - compute - memory) < 0:
        return Share(
            None, reason="faster than the rates measured: that was disturbed, or weights stay in the CPU's cache"
        )
    if overhead >= max(compute, memory):
        return Share((compute + memory) / seconds, "overhead")
    return Share((compute + memory) / seconds, "compute" if compute >= memory else "memory")
