"""What a GPU benchmark's numbers depend on beside the machine: device, driver, clocks, libraries."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

import torch

QUERY = (
    *("uuid", "driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "clocks.max.mem"),
    *("power.draw", "power.limit", "temperature.gpu", "ecc.mode.current", "mig.mode.current"),
)
PACKAGES = ("triton", "cupy-cuda13x", "cupy-cuda12x", "jax")


def facts() -> dict[str, str]:
    """Name and value of each, as text; of a machine without a GPU only the packages."""
    found = {name: value for name in PACKAGES if (value := _version(name))}
    if not torch.cuda.is_available():
        return found
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    words = [
        f"{properties.name}, sm_{properties.major}{properties.minor}",
        f"{properties.multi_processor_count} multiprocessors",
        f"{properties.total_memory / 2**30:.0f} GiB",
        f"{properties.L2_cache_size / 2**20:.0f} MiB of level-two cache",
    ]
    return {"device": ", ".join(words), "cuDNN": str(torch.backends.cudnn.version()), **_queried(), **found}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _queried() -> dict[str, str]:
    """What nvidia-smi tells of the current device, if it is there."""
    program = shutil.which("nvidia-smi") or "/usr/local/nvidia/bin/nvidia-smi"
    words = [program, f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:  # numbers without clocks are numbers all the same
        return {"nvidia-smi": f"{type(error).__name__}: {error}"}
    lines = done.stdout.splitlines() or [""]
    current = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
    line = next((line for line in lines if current in line), lines[0])
    return dict(zip(QUERY, line.split(", "), strict=False))


def clocks() -> dict[str, int]:
    """MHz, degrees and milliwatts at this moment, as far as this torch can ask for them."""
    found = {}
    for name in ("clock_rate", "temperature", "power_draw"):
        try:
            found[name] = int(getattr(torch.cuda, name)())
        except Exception:  # needs nvidia-ml-py, and a driver that lets it
            continue
    return found


def same_precision() -> None:
    """Let nobody compute float32 in TensorFloat-32, which rounds to 10 bits: not what qcore computes."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True  # the fastest convolution there is
