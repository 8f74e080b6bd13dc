"""Compiled CPU kernels. Arrays: anything with DLPack or the buffer protocol, in shapes as in csrc."""

from collections.abc import Sequence
from typing import Any

def build_info() -> dict[str, str]: ...
def isa() -> str: ...
def isa_available() -> list[str]: ...
def num_threads() -> int: ...
def measure_fma_rate(dtype: str, seconds: float, threads: int) -> float: ...
def measure_triad(megabytes: float, seconds: float, threads: int) -> float: ...
def stencil_residual_chain(
    x: Any,
    taps: Any,
    bias: Any | None,
    y: Any,
    states: Any | None,
    checkpoints: Any | None,
    skip: float,
    activation: int,
    slope: float,
    boundary: int,
    states_every: int,
    checkpoint_every: int,
    backend: int,
) -> None: ...
def stencil_residual_chain_backward(
    grad_y: Any,
    grad_states: Any | None,
    x: Any,
    checkpoints: Any | None,
    taps: Any,
    bias: Any | None,
    grad_x: Any,
    grad_taps: Any,
    grad_bias: Any | None,
    skip: float,
    activation: int,
    slope: float,
    boundary: int,
    states_every: int,
    checkpoint_every: int,
    backend: int,
) -> None: ...
def philox(counter: Sequence[int], key: int) -> list[int]: ...
def paths_transfer(
    taps: Any,
    offsets: Sequence[int],
    gates: Any,
    bias: Any | None,
    outputs: Sequence[int],
    boundary: int,
    weights: Any,
    from_bias: Any,
    exponents: Any | None,
) -> None: ...
def paths_enumerate(
    taps: Any,
    offsets: Sequence[int],
    gates: Any,
    outputs: Sequence[int],
    boundary: int,
    weights: Any,
    starts: Any,
) -> None: ...
def paths_sample(
    taps: Any,
    offsets: Sequence[int],
    gates: Any,
    bias: Any | None,
    outputs: Sequence[int],
    boundary: int,
    psi0: Any,
    samples: int,
    seed: int,
    first: int,
    mean: Any,
    variance: Any,
) -> None: ...
def schrodinger_split_evolve(
    psi: Any,
    phases: Any,
    e: Any,
    out: Any,
    frames: Any | None,
    program: Sequence[int],
    boundary: Sequence[int],
    steps: int,
    save_every: int,
    rule: int,
    order: int,
    arithmetic: int,
    backend: int,
) -> None: ...
def schrodinger_split_adjoint(
    states: Any,
    grad_out: Any,
    grad_frames: Any | None,
    phases: Any,
    e: Any,
    grad_psi: Any,
    grad_phases: Any | None,
    grad_e: Any | None,
    program: Sequence[int],
    boundary: Sequence[int],
    steps: int,
    save_every: int,
    first: int,
    rule: int,
    order: int,
    arithmetic: int,
    backend: int,
) -> None: ...
