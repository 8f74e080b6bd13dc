"""What the commands share in reading their arguments."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from qcore.data import Digits, load_digits, load_mnist
from qcore.training import CHAINS, TrainConfig

MODELS = list(CHAINS)
DEFAULTS = TrainConfig()
# The bundled digits are few: with batches of 128, 50 epochs would be 600 steps, and deep chains learn late.
BUNDLED_BATCH_SIZE = 16
# Such batches are too small to share: threads would wait for each other, and long where the CPUs are busy.
BUNDLED_THREADS = 1


class CommandError(Exception):
    """An argument cannot be followed; the message names it, what was expected and what came."""


def integer(least: int, below: int = 2**63) -> Callable[[str], int]:
    """An argument type: an integer from ``least`` up to, not including, ``below``."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value < below:
            bounds = f"at least {least}" + (f" and less than {below}" if below < 2**63 else "")
            raise argparse.ArgumentTypeError(f"expected an integer of {bounds}, got {text!r}")
        return value

    return parse


def positive(text: str) -> float:
    """An argument type: a positive finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return value


def add_model_arguments(parser: argparse.ArgumentParser, models: list[str]) -> None:
    """--model, --depth, --seed: None when not given, so that they can be compared with a checkpoint's."""
    parser.add_argument("--model", choices=models, help=f"the chain (default {DEFAULTS.model})")
    parser.add_argument(
        "--depth", type=integer(0), metavar="N", help=f"number of its layers (default {DEFAULTS.depth})"
    )
    parser.add_argument(
        "--seed", type=integer(0), metavar="N", help=f"seed of weights and shuffles (default {DEFAULTS.seed})"
    )


def add_data_argument(parser: argparse.ArgumentParser) -> None:
    """--data: a folder of IDX files."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of the four MNIST IDX files, gzipped or not (default: scikit-learn's bundled digits)",
    )


def load_data(folder: str | Path | None) -> Digits:
    """The data set in a folder, or the bundled one."""
    return load_digits() if folder is None else load_mnist(folder)
