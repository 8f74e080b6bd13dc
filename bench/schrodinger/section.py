"""The family's part of `python -m bench.report`: names of rows, measuring them, tables, the record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .. import calls
from ..ceiling import Ceilings
from ..resident import Peak, available
from ..table import Table
from ..timing import Disagreement
from . import gradient, measure, memory, overhead
from .cases import PREFIX, gradients, rows

QUICK_POINTS, QUICK_STEPS = 2048, 5
OVERHEAD, PEAKS = f"{PREFIX}call", f"{PREFIX}peaks"


def names() -> list[str]:
    """Of all rows."""
    return [*(case.name for case in rows()), *(case.name for case in gradients()), OVERHEAD, PEAKS]


class Section:
    """What was measured, and its tables."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.rows: list[measure.Row] = []
        self.gradients: list[gradient.Row] = []
        self.calls: list[calls.Call] = []
        self.peaks: list[Peak] = []
        self.wrong: list[str] = []

    def run(self, chosen: set[str], *, quick: bool, say: Callable[[str], None]) -> None:
        """Measure the rows of these names."""
        for case in rows():
            if case.name in chosen:
                seconds = 0.02 if quick else 10.0 if case.thorough else 3.0
                small = case.shrunk(QUICK_POINTS, QUICK_STEPS) if quick else case
                with self._noting_wrong():
                    self.rows.append(measure.measure(small, seconds=seconds, say=say))
        for case in gradients():
            if case.name in chosen:
                say(case.name)
                small, seconds = (case.shrunk(QUICK_POINTS, QUICK_STEPS), 0.02) if quick else (case, 10.0)
                with self._noting_wrong():
                    self.gradients.append(gradient.measure(small, seconds=seconds))
        if OVERHEAD in chosen:
            say(OVERHEAD)
            self.calls = calls.measure(overhead.calls(), **(calls.QUICK if quick else {}))
        if PEAKS in chosen and available():
            for steps in memory.STEPS[:1] if quick else memory.STEPS:
                say(f"{PEAKS}: T={steps}")
                shape, who = ((16, 1024), memory.WHO[:1]) if quick else (memory.SHAPE, memory.WHO)
                self.peaks.append(memory.measure(shape, steps, threads=self.threads, who=who))

    def record(self, ceilings: Ceilings) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "rows": [row.record(ceilings) for row in self.rows],
            "gradients": [row.record() for row in self.gradients],
            "overhead": [call.record() for call in self.calls],
            "memory": [peak.record() for peak in self.peaks],
        }

    def tables(self, ceilings: Ceilings) -> list[Table]:
        """One of each kind."""
        return [
            measure.table(self.rows, ceilings),
            gradient.table(self.gradients),
            calls.table(overhead.TITLE, self.calls),
            memory.table(self.peaks),
        ]

    @contextmanager
    def _noting_wrong(self) -> Iterator[None]:
        try:
            yield
        except Disagreement as error:
            self.wrong.append(str(error))
