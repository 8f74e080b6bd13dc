"""What a row is: a piece of work, qcore's way of doing it, and its peers', each with a check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch

from ..timing import Run


@dataclass(frozen=True)
class Place:
    """Where rows run."""

    device: str  # "cuda", or "cpu" to try the code
    compiled: bool  # peers of torch.compile too

    @property
    def cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.device == "cuda"


class Runner(Protocol):
    """What is timed, and how its outcome is read; the families' own runners are such."""

    @property
    def run(self) -> Run:
        """A call."""

    @property
    def read(self) -> Callable[[Any], Any]:
        """Of what a call returned."""


class Plain(NamedTuple):
    """A runner whose outcome needs no reading."""

    run: Run
    read: Callable[[Any], Any] = lambda outcome: outcome


@dataclass(frozen=True)
class Peer:
    """Another way of doing it.

    Attributes:
        name: as it stands in the report.
        build: makes what is called.
        check: looks at its outcome; raises Disagreement.
        amount: units of work of its call, of which it may do fewer than qcore.
    """

    name: str
    build: Callable[[], Runner]
    check: Callable[[Any], None]
    amount: float


@dataclass(frozen=True)
class Contest:
    """qcore and its peers with their arrays made, on one device."""

    ours: Run
    peers: list[Peer]


@dataclass(frozen=True)
class Row:
    """A piece of work.

    Attributes:
        name, label: of the row; what it is, in words.
        unit, amount: what is counted, and how many of it a call of ours does.
        prepare: the contest, at a place.
        operations: multiply-adds that a unit takes at least; 0: not counted.
        dtype: of the arithmetic.
        bytes: least traffic of a call; 0: not counted.
        ratio, rate: asked for; times as fast as the peer, units per second.
        against: the peer that the ratio is to; empty: the fastest.
    """

    name: str
    label: str
    unit: str
    amount: float
    prepare: Callable[[Place], Contest]
    operations: float = 0.0
    dtype: torch.dtype = torch.float32
    bytes: float = 0.0
    ratio: float | None = None
    rate: float | None = None
    against: str = ""
