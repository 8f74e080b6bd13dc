"""What the commands that draw one test image on its way through a chain share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from qcore.checkpoint import Checkpoint, load_checkpoint
from qcore.cli import figures
from qcore.cli.arguments import CommandError, integer, load_data
from qcore.data import Digits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIGIT = 3


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """--digit or --index: which test image."""
    image = parser.add_mutually_exclusive_group()
    image.add_argument(
        "--digit",
        type=integer(0, 10),
        metavar="N",
        help=f"the first test image of this digit (default {DIGIT})",
    )
    image.add_argument("--index", type=integer(0), metavar="I", help="the test image of this index")


def choose_image(data: Digits, arguments: argparse.Namespace) -> int:
    """Index of the test image that the arguments name."""
    count = len(data.test_labels)
    if arguments.index is not None:
        if arguments.index >= count:
            raise CommandError(f"--index: expected less than the {count} test images, got {arguments.index}")
        return int(arguments.index)
    return first_of(data, DIGIT if arguments.digit is None else arguments.digit)


def first_of(data: Digits, digit: int) -> int:
    """Index of the first test image of a digit.

    Raises:
        CommandError: there is none.
    """
    found = (data.test_labels == digit).nonzero()
    if len(found) == 0:
        raise CommandError(
            f"--digit: expected a digit that the {len(data.test_labels)} test images hold, got {digit}"
        )
    return int(found[0])


def chain_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint of a run that has a chain."""
    saved = load_checkpoint(path)
    if saved.config.model == "none":
        raise CommandError(f"--checkpoint: expected a model with a chain, got {saved.path} of model 'none'")
    return saved


def data_for(saved: Checkpoint, folder: Path | None) -> Digits:
    """The data in ``folder``, else those of the run, of the size that its network takes."""
    data = load_data(folder or saved.source.folder)
    if data.image_size != saved.source.image_size:
        raise CommandError(
            f"--data: expected images of {saved.source.image_size}, as the checkpoint, got {data.image_size}"
        )
    return data


def out_file(given: Path | None, checkpoint: Path | None, name: str) -> Path:
    """Where a picture goes: the given file, or ``name`` beside the checkpoint or in the working folder."""
    out = given or (checkpoint or Path("_")).with_name(name)
    if out.is_dir():
        raise CommandError(f"--out: expected a PNG file, got the folder {out}")
    return out


def write(figure: Figure, out: Path) -> None:
    """Write a picture to the file of --out."""
    try:
        figures.write_png(figure, out)
    except OSError as error:
        raise CommandError(f"--out: cannot write {out}: {error.strerror}") from None
