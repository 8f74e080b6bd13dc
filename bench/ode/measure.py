"""Time, memory and error of the gradients of one flow in one way, beside the same with conv2d."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

from ..resident import available
from ..table import Table
from ..timing import Comparison, Disagreement, compare
from . import memory
from .flows import DIFFUSION_TIMES, WAYS, Flow, conv2d, errors, ours

ERROR_STEPS = 128  # enough for rk4 to be stable at the longest diffusion time

ROWS_NOTE = """\
A call is one forward pass and the gradients to the start and the stencil. conv2d: torchdiffeq with a
depthwise conv2d for the right-hand side, in the same way. Ratio: its time over ours, median over alternating
pairs. A field is one state in float32; what is kept is the peak above the inputs, without the holes of malloc
(see bench/ode/memory.py). Errors are relative to the steps differentiated in float64: rounding, and for
the adjoint also what its own steps leave, O(h^p)."""
ERRORS_NOTE = """\
du/dt = tanh(a^2/2 u_xx) on a ring of 32 points over the time T, from noise, rk4, 128 steps, float32: gradient
to the stencil. Backwards in time rounding errors of u grow by up to e^(2 a^2 T), and the adjoint takes u from
there."""


@dataclass
class Row:
    """A flow in one way."""

    flow: Flow
    way: str
    comparison: Comparison
    error: tuple[float, float]  # relative, of the gradients to the start and to the stencil
    peaks: dict[str, int] = field(default_factory=dict)  # bytes, by who

    @property
    def seconds(self) -> float:
        """Of a call of qcore."""
        return median(self.comparison.ours)

    def fields(self, who: str) -> float | None:
        """The peak in units of a field; None if it was not measured."""
        return self.peaks[who] / self.flow.field_bytes if who in self.peaks else None

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.flow.name,
            "flow": asdict(self.flow),
            "way": self.way,
            "seconds": self.seconds,
            "seconds_conv2d": median(self.comparison.theirs),
            "ratio": self.comparison.ratio,
            "ratio_quartiles": self.comparison.spread,
            "error_start": self.error[0],
            "error_stencil": self.error[1],
            "bytes": self.peaks,
            "fields": {who: self.fields(who) for who in self.peaks},
        }


def measure(flow: Flow, way: str, *, seconds: float, threads: int, peaks: bool = True) -> Row:
    """Time a flow in one way beside the same with conv2d.

    Args:
        flow, way: what to measure.
        seconds: rough length of the comparison.
        threads: for the processes that tell the peaks of memory.
        peaks: whether to start them.

    Raises:
        Disagreement: the two do not give the same gradients.
    """
    mine, theirs = ours(flow, way), conv2d(flow, way)
    check(flow, way)
    comparison = compare(mine, theirs, seconds=seconds)
    found = {}
    if peaks and available():
        found = {who: memory.measure(flow, way, who, threads=threads) for who in ("qcore", "conv2d")}
    return Row(flow, way, comparison, errors(flow, way), found)


def check(flow: Flow, way: str, tolerance: float = 1e-3) -> None:
    """Compare the gradients of both sides.

    Raises:
        Disagreement: they differ by more than rounding.
    """
    mine, theirs = ours(flow, way)(), conv2d(flow, way)()
    for one, other, what in zip(mine, theirs, ("start", "stencil"), strict=True):
        distance = float((one - other.reshape(one.shape)).norm() / other.norm())
        if not distance < tolerance:
            raise Disagreement(f"{flow.name}, {way}: gradients to the {what} differ by {distance:.2g}")


def error_growth(steps: int = ERROR_STEPS) -> dict[str, list[float]]:
    """Relative error of the gradient to the stencil by way, at each of ``DIFFUSION_TIMES``."""
    ring = Flow("ode/ring", "rk4", "tanh", steps, shape=(1, 1, 1, 32))
    flows = [replace(ring, diffusion_time=time) for time in DIFFUSION_TIMES]
    return {way: [errors(flow, way)[1] for flow in flows] for way in WAYS}


def table(rows: list[Row]) -> Table:
    """The rows beside each other."""
    columns = ["row", "shape", "way", "ms", "conv2d ms", "ratio (quartiles)", "fields kept", "conv2d's"]
    made = Table("Gradients of a neural ODE", [*columns, "error dL/dx", "error dL/dK"], note=ROWS_NOTE)
    for row in rows:
        low, high = row.comparison.spread
        peaks = ["" if (n := row.fields(who)) is None else f"{n:.1f}" for who in ("qcore", "conv2d")]
        made.rows.append(
            [
                row.flow.name,
                row.flow.label,
                row.way,
                f"{1e3 * row.seconds:.3g}",
                f"{1e3 * median(row.comparison.theirs):.3g}",
                f"{row.comparison.ratio:.3g} ({low:.3g}..{high:.3g})",
                *peaks,
                *(f"{error:.1e}" for error in row.error),
            ]
        )
    return made


def error_table(growth: dict[str, list[float]]) -> Table:
    """Errors against the time of diffusion."""
    made = Table("Error of dL/dK by a^2 T", ["way", *(f"{time:g}" for time in DIFFUSION_TIMES)])
    made.note = ERRORS_NOTE
    made.rows = [[way, *(f"{error:.1e}" for error in found)] for way, found in growth.items()]
    return made
