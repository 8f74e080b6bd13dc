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
def paths_action(
    x: Any,
    x_ini: Any | None,
    x_fin: Any | None,
    coefficients: Any,
    factors: Any,
    out: Any,
    table: bool,
    start: float,
    spacing: float,
    scheme: int,
    periodic: bool,
    lambda_: float,
    parameters: int,
    dt: float,
    hold_ends: bool,
    backend: int,
) -> None: ...
def paths_action_gradient(
    x: Any,
    x_ini: Any | None,
    x_fin: Any | None,
    coefficients: Any,
    factors: Any,
    grad: Any,
    grad_x: Any,
    grad_ini: Any | None,
    grad_fin: Any | None,
    grad_coefficients: Any | None,
    table: bool,
    start: float,
    spacing: float,
    scheme: int,
    periodic: bool,
    lambda_: float,
    parameters: int,
    dt: float,
    hold_ends: bool,
    backend: int,
) -> None: ...
def paths_integrate(w: Any, x_ini: Any, x_fin: Any | None, x: Any, parameters: int, dt: float) -> None: ...
def paths_integrate_adjoint(
    grad_x: Any, grad_w: Any, grad_ini: Any, grad_fin: Any | None, parameters: int, dt: float
) -> None: ...
def paths_phi4_action(
    phi: Any, factors: Any, out: Any, midpoint: bool, periodic: bool, reference: bool
) -> None: ...
def paths_phi4_gradient(
    phi: Any, factors: Any, grad: Any, grad_phi: Any, midpoint: bool, periodic: bool, reference: bool
) -> None: ...
def schrodinger_evolve(
    psi: Any,
    potential: Any,
    kappa: float,
    c: Any,
    out: Any,
    frames: Any | None,
    steps: int,
    save_every: int,
    rule: int,
    order: int,
    boundary: int,
    arithmetic: int,
    backend: int,
) -> None: ...
def schrodinger_adjoint(
    states: Any,
    grad_out: Any,
    grad_frames: Any | None,
    potential: Any,
    kappa: float,
    c: Any,
    grad_psi: Any,
    grad_potential: Any,
    grad_c: Any,
    steps: int,
    save_every: int,
    rule: int,
    order: int,
    boundary: int,
    arithmetic: int,
    backend: int,
) -> None: ...
def schrodinger_cayley(
    psi: Any,
    bands: Any,
    mass: Any | None,
    z: Any,
    steps: int,
    out: Any,
    frames: Any | None,
    save_every: int,
    kept: Any | None,
    checkpoint_every: int,
    backend: int,
) -> None: ...
def schrodinger_cayley_adjoint(
    psi: Any,
    bands: Any,
    mass: Any | None,
    z: Any,
    steps: int,
    kept: Any,
    checkpoint_every: int,
    grad_out: Any,
    grad_frames: Any | None,
    save_every: int,
    grad_psi: Any,
    grad_bands: Any | None,
    grad_mass: Any | None,
    grad_z: Any | None,
    backend: int,
) -> None: ...
def schrodinger_transparent(
    psi: Any,
    potential: Any,
    kappa: float,
    tau: float,
    steps: int,
    left: bool,
    right: bool,
    out: Any,
    frames: Any | None,
    save_every: int,
    kept: Any | None,
    checkpoint_every: int,
    trace: Any | None,
    backend: int,
) -> None: ...
def schrodinger_transparent_adjoint(
    psi: Any,
    potential: Any,
    kappa: float,
    tau: float,
    steps: int,
    left: bool,
    right: bool,
    kept: Any,
    checkpoint_every: int,
    trace: Any,
    grad_out: Any,
    grad_frames: Any | None,
    save_every: int,
    grad_psi: Any,
    grad_potential: Any | None,
    grad_constants: Any | None,
    backend: int,
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
