"""Files that are either whole or not there, and the error for those that are neither."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CheckpointError(ValueError):
    """A file is no checkpoint, is damaged, or is of another run; the message says what is wrong."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; what is written there takes its place when the block ends well.

    Raises:
        OSError: the file cannot be written or put in place. ``path`` is then as it was before.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
