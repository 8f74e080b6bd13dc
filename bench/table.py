"""Tables as aligned text and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Table:
    """Rows of text under a title and column names; a note below."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    note: str = ""

    def text(self) -> str:
        """In aligned columns."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        padded = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
        ]
        rule = "-" * len(padded[0])
        return "\n".join(
            [self.title, rule, padded[0], rule, *(line.rstrip() for line in padded[1:]), *self._note()]
        )

    def markdown(self) -> str:
        """As GitHub writes tables."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
        return "\n".join([f"### {self.title}", "", *body, *("", *self._note()) * bool(self.note)])

    def _note(self) -> list[str]:
        return [self.note] if self.note else []
