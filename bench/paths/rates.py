"""What is measured of a sampler: a rate of its own, and how many times as long each peer takes."""

from __future__ import annotations

from dataclasses import dataclass

from ..table import Table


@dataclass(frozen=True)
class Row:
    """Ours against one peer."""

    name: str
    peer: str
    rate: float  # of ours, per second on all threads
    ratio: float
    quartiles: tuple[float, float]
    target: float | None  # of the ratio


def table(title: str, unit: str, note: str, measured: list[Row]) -> Table:
    """The rows below each other; rates in 1e9 `unit` per second."""
    made = Table(title, ["case", "peer", f"G {unit}/s", "peer / ours", "quartiles", "reach"], note=note)
    for row in measured:
        reach = "" if row.target is None else f">= {row.target:g}x"
        low, high = row.quartiles
        made.rows.append(
            [row.name, row.peer, f"{row.rate / 1e9:.3f}", f"{row.ratio:.1f}x", f"{low:.1f}-{high:.1f}", reach]
        )
    return made
