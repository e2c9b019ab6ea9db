"""What a device can do, and what follows for precision, quantization and attention.

Decisions take a `Device` as a value, so that each can be tested without the hardware. Sources: the CUDA C
Programming Guide's table of arithmetic throughput by compute capability; the hardware tables in the
documentation of bitsandbytes, torchao and FlashAttention.
"""

import gc
import importlib.util
from collections.abc import Sequence
from dataclasses import replace

import torch

from sum_assets.errors import UnsupportedError, UserError
from sum_assets.summarizer.cpu import cpu_name
from sum_assets.summarizer.types import Attention, Device, Precision, Quantization
from sum_assets.summarizer.user_settings import GpuSettings


def find_device(name: str) -> Device:
    """Return the device that a setting names. Raises UnsupportedError where it is missing."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cpu":
        return Device("cpu", None, cpu_name(), None, _cpu_computes_bfloat16(), None)
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise UnsupportedError("device mps: this machine has no Apple GPU that torch can use. Set device: cpu.")
        return Device("mps", None, "Apple GPU", None, False, None)
    count = torch.cuda.device_count()
    index = int(name.partition(":")[2] or 0)
    if index >= count:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build without CUDA"
        raise UnsupportedError(
            f"device {name}: torch sees {count} CUDA devices (torch {torch.__version__} is {built}). "
            "Set device: cpu or auto, or install the driver and a CUDA build of torch."
        )
    properties = torch.cuda.get_device_properties(index)
    capability = (properties.major, properties.minor)
    built_for = torch.cuda.get_arch_list()
    if built_for and not _is_built_for(capability, built_for):
        raise UnsupportedError(
            f"device {name}: torch {torch.__version__} has no kernels for {properties.name} (compute capability "
            f"{capability[0]}.{capability[1]}; it has {', '.join(built_for)}). A K80 needs torch 2.7.1 for CUDA 11.8."
        )
    # As torch.cuda.is_bf16_supported(including_emulation=False), which would take memory on the device.
    bfloat16 = torch.version.hip is not None or properties.major >= 8
    uuid = str(getattr(properties, "uuid", index))
    return Device("cuda", index, properties.name, capability, bfloat16, properties.total_memory, uuid)


def free_memory(device: Device) -> None:
    """Give the memory of tensors that nobody references any more back to their device."""
    gc.collect()
    if device.kind == "cuda":
        torch.cuda.empty_cache()


def alike(device: Device, others: Sequence[Device]) -> list[Device]:
    """Return a device, and of the others those that are equal in all that decisions need."""
    return [device, *(o for o in others if o != device and replace(o, index=device.index, uuid=device.uuid) == device)]


def devices_of(gpu: GpuSettings) -> list[list[Device]]:
    """Return the devices that settings name, each with those that can take its place.

    `auto` and `cuda` mean any CUDA device like the first. Raises UnsupportedError for one that is missing.
    """
    if gpu.ray_address:  # Ray keeps account of its own
        return []
    if gpu.devices:
        return [[device] for device in find_devices(gpu.devices)]
    device = find_device(gpu.device)
    if device.kind == "cuda" and gpu.device in ("auto", "cuda"):
        return [alike(device, [find_device(f"cuda:{n}") for n in range(1, torch.cuda.device_count())])]
    return [[device]]


def find_devices(names: Sequence[str]) -> tuple[Device, ...]:
    """Return the devices that a list names; `all` is every CUDA device. Raises UnsupportedError for one missing."""
    if list(names) == ["all"]:
        names = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        if not names:
            raise UnsupportedError("devices all: torch sees no CUDA device here. Leave devices out, or name them.")
    devices = tuple(find_device(name) for name in names)
    if len({device.torch_name for device in devices}) < len(devices):
        raise UnsupportedError(f"devices {', '.join(names)}: two of them are the same device. Name each once.")
    if len({device.kind for device in devices}) > 1:
        raise UnsupportedError(f"devices {', '.join(names)}: one run uses one kind of device. Name one kind only.")
    return devices


def _is_built_for(capability: tuple[int, int], built_for: list[str]) -> bool:
    """Machine code (`sm_86`) runs within its major version, PTX (`compute_90`) on anything newer.

    ROCm's names (`gfx90a`) are not judged.
    """
    for arch in built_for:
        kind, _, number = arch.partition("_")
        if not number:
            return True
        digits = "".join(c for c in number if c.isdigit())
        major, minor = int(digits[:-1]), int(digits[-1])
        if kind == "sm" and major == capability[0] and minor <= capability[1]:
            return True
        if kind == "compute" and (major, minor) <= capability:
            return True
    return False


def _cpu_computes_bfloat16() -> bool:
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


def choose_precision(setting: str, device: Device, model_type: str) -> Precision:
    """Return the precision to compute in. Raises UnsupportedError for one that the device only emulates.

    T5's activations overflow in float16 (it was trained in bfloat16), so `auto` never takes it there.
    """
    half_is_fast = device.capability is not None and device.capability >= (6, 0) and device.capability != (6, 1)
    if setting == "auto":
        if device.computes_bfloat16:
            return "bfloat16"
        if half_is_fast and model_type not in ("t5", "mt5", "umt5", "longt5"):
            return "float16"
        return "float32"
    if setting == "float16" and device.kind == "cpu":
        raise UnsupportedError("precision float16: a CPU gains nothing from it. Set float32 or auto.")
    if setting == "float16" and device.kind == "cuda" and not half_is_fast:
        raise UnsupportedError(f"precision float16: {device.name} stores it but computes slowly. Set float32 or auto.")
    if setting == "bfloat16" and not device.computes_bfloat16:
        raise UnsupportedError(f"precision bfloat16: {device.name} only emulates it. Set float32 or auto.")
    if setting in ("float32", "bfloat16", "float16"):
        return setting  # type: ignore[return-value]
    raise UserError(f"precision is auto, float32, bfloat16 or float16, not {setting!r}")


def quantization_library(quantization: Quantization) -> str:
    """Return the library that quantizes."""
    return "torchao" if quantization == "torchao_int8" else "bitsandbytes"


def check_quantization(quantization: Quantization, device: Device) -> Quantization:
    """Raise UnsupportedError where the library is missing or has no kernel for the device."""
    if quantization == "none":
        return quantization
    library = quantization_library(quantization)
    if importlib.util.find_spec(library) is None:
        package = "'sum-assets[torchao]'" if library == "torchao" else library
        raise UnsupportedError(f"quantization {quantization}: {library} is not installed. `pip install {package}`.")
    if device.kind == "mps":
        raise UnsupportedError(f"quantization {quantization}: {library} has no kernels for mps. Set none.")
    needed = {"int8": (7, 5), "torchao_int8": (8, 0)}.get(quantization, (6, 0))
    if device.capability is not None and device.capability < needed:
        raise UnsupportedError(
            f"quantization {quantization}: {library} needs compute capability {needed[0]}.{needed[1]}, "
            f"{device.name} has {device.capability[0]}.{device.capability[1]}. Set none."
        )
    return quantization


def check_cuda_graphs(device: Device, quantization: Quantization) -> None:
    """Raise UnsupportedError where decoding steps cannot be captured.

    That is on anything but CUDA, and for layers that wait for a number from the GPU.
    """
    if device.kind != "cuda" or torch.version.hip is not None:
        raise UnsupportedError(f"cuda_graphs: {device.name} has none. Leave it out.")
    if quantization in ("int8", "torchao_int8"):  # torchao's safe_int_mm prints the rows to see what they are
        library = quantization_library(quantization)
        raise UnsupportedError(f"cuda_graphs: int8 by {library} waits for the GPU in each layer. Set another.")


def choose_attention(
    setting: str, device: Device, precision: Precision, *, has_sdpa: bool, has_flash: bool
) -> Attention:
    """Return the attention kernel. `has_sdpa` and `has_flash` say what the model's class supports."""
    if setting == "auto":
        return "sdpa" if has_sdpa else "eager"
    if setting == "sdpa" and not has_sdpa:
        raise UnsupportedError("attention sdpa: this model has none. Set eager or auto.")
    if setting == "flash_attention_2":
        if not has_flash:
            raise UnsupportedError("attention flash_attention_2: this model has none. Set sdpa or auto.")
        if device.capability is None or device.capability < (8, 0):
            raise UnsupportedError(
                f"attention flash_attention_2: {device.name} has no kernels; it needs CUDA, compute capability 8.0. "
                "Set sdpa or auto."
            )
        if precision == "float32":
            raise UnsupportedError("attention flash_attention_2 computes in bfloat16 or float16, not float32.")
        if importlib.util.find_spec("flash_attn") is None:
            raise UnsupportedError(
                "attention flash_attention_2: flash-attn is not installed. `pip install flash-attn`."
            )
    if setting in ("eager", "sdpa", "flash_attention_2"):
        return setting  # type: ignore[return-value]
    raise UserError(f"attention is auto, eager, sdpa or flash_attention_2, not {setting!r}")
