"""What ``qcore solve`` and ``qcore paths`` print and write: rows, tables, pictures, movies, numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcore import _json
from qcore._atomic import replacing
from qcore._optional import MissingPackage
from qcore.cli.arguments import CommandError
from qcore.cli.figures import write_png
from qcore.cli.progress import step_progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = tuple[str, str]

_MILLISECONDS = 60  # that a movie shows a frame


def check_file(option: str, path: Path | None, ending: str) -> None:
    """See that a file can be written, before any time is spent.

    Raises:
        CommandError: it cannot, or its name does not end as it should.
    """
    if path is None:
        return
    if path.is_dir():
        raise CommandError(f"--{option}: expected a file, got the folder {path}")
    if path.suffix.lower() != ending:
        raise CommandError(f"--{option}: expected a file name that ends in {ending}, got {path}")
    probe = path.with_name(f".{path.name}.writable")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _unwritable(option, path, error) from None


def print_rows(rows: list[Row]) -> None:
    """Print facts, one on a line."""
    for name, value in rows:
        print(f"{name:<14}{value}")


def print_energies(energies: list[float], exact: list[float | None]) -> None:
    """Print energies, and beside them what is known exactly."""
    known = any(value is not None for value in exact)
    print(f"\n{'state':>5}  {'energy':>16}" + (f"  {'exact':>16}  {'off by':>9}" if known else ""))
    for index, (energy, value) in enumerate(zip(energies, exact, strict=True)):
        line = f"{index:>5}  {energy:>16.10f}"
        if value is not None:
            line += f"  {value:>16.10f}  {energy - value:>+9.1e}"
        print(line)
    print()


def print_written(written: list[Path]) -> None:
    """Print the names of what was written."""
    print_rows([("" if index else "written", str(path)) for index, path in enumerate(written)])


def write_picture(
    draw: Callable[[], Figure],
    given: Path | None,
    name: str,
    *,
    command: str = "solve",
    option: str = "picture",
) -> list[Path]:
    """Draw into the file that an option gave, or into ``name``; without matplotlib that one is left out.

    Raises:
        CommandError: the file cannot be written.
        MissingPackage: matplotlib is not installed, and the option was given.
    """
    path = given or Path(name)
    try:
        write_png(draw(), path)
    except MissingPackage as error:
        if given is not None:
            raise
        print(f"qcore {command}: no {name}: {error}", file=sys.stderr)
        return []
    except OSError as error:
        raise _unwritable(option, path, error) from None
    return [path]


def write_movie(images: Iterator[Any], count: int, path: Path) -> list[Path]:
    """Write images as an animation that goes round and round.

    Raises:
        CommandError: the file cannot be written.
        MissingPackage: matplotlib is not installed.
    """
    with step_progress("solve", count, "frames") as done:
        first, *others = (done(1) or image for image in images)
    try:
        with replacing(path) as temporary:
            first.save(
                temporary,
                format="GIF",
                save_all=True,
                append_images=others,
                duration=_MILLISECONDS,
                loop=0,
            )
    except OSError as error:
        raise _unwritable("movie", path, error) from None
    return [path]


def write_numbers(numbers: dict[str, Any], path: Path | None) -> list[Path]:
    """Write the file of --json, if one is wanted.

    Raises:
        CommandError: it cannot be written.
    """
    if path is None:
        return []
    try:
        with replacing(path) as temporary:
            temporary.write_text(_json.dumps(numbers, indent=1) + "\n")
    except OSError as error:
        raise _unwritable("json", path, error) from None
    return [path]


def _unwritable(option: str, path: Path, error: OSError) -> CommandError:
    return CommandError(f"--{option}: cannot write {path}: {error.strerror}")
