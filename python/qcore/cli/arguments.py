"""What the commands share in reading their arguments."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from qcore._atomic import replacing
from qcore.data import Digits, load_digits, load_mnist
from qcore.nn.chains import INITS
from qcore.training import CHAINS, TrainConfig

T = TypeVar("T")

MODELS = list(CHAINS)
DEFAULTS = TrainConfig()
# The bundled digits are few: with batches of 128, 50 epochs would be 600 steps, and deep chains learn late.
BUNDLED_BATCH_SIZE = 16
# Such batches are too small to share: threads would wait for each other, and long where the CPUs are busy.
BUNDLED_THREADS = 1


class CommandError(Exception):
    """An argument cannot be followed; the message names it, what was expected and what came."""


def configured(config: TrainConfig, **changes: Any) -> TrainConfig:
    """``config`` with changes.

    Raises:
        CommandError: the arguments do not go together.
    """
    try:
        return replace(config, **changes)
    except ValueError as error:
        raise CommandError(f"--{error}") from None


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


def listed(parse: Callable[[str], T], choices: Collection[T] | None = None) -> Callable[[str], list[T]]:
    """An argument type: values with commas between them, each of ``choices`` if given, none twice."""

    def parse_list(text: str) -> list[T]:
        values = [parse(part.strip()) for part in text.split(",")]
        for value in values:
            if choices is not None and value not in choices:
                names = ", ".join(map(str, choices))
                raise argparse.ArgumentTypeError(f"expected some of {names}, got {str(value)!r}")
        if len(set(values)) < len(values):
            raise argparse.ArgumentTypeError(f"expected every value once, got {text!r}")
        return values

    return parse_list


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
    """--model, --depth, --seed, --init: None when not given, so that a checkpoint's can take their place."""
    parser.add_argument("--model", choices=models, help=f"the chain (default {DEFAULTS.model})")
    parser.add_argument(
        "--depth",
        type=integer(0),
        metavar="N",
        help=f"number of its layers, or of the Euler steps of ode (default {DEFAULTS.depth})",
    )
    parser.add_argument(
        "--seed", type=integer(0), metavar="N", help=f"seed of weights and shuffles (default {DEFAULTS.seed})"
    )
    parser.add_argument(
        "--init", choices=INITS, help=f"how a PDE network starts, see PDEChain (default {DEFAULTS.init})"
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


def prepare_folder(out: Path) -> None:
    """Make the folder of --out and see that files can be put there, before any time is spent.

    Raises:
        CommandError: they cannot.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(out / ".writable") as probe:
            probe.touch()
        (out / ".writable").unlink()
    except OSError as error:
        raise CommandError(f"--out: cannot write in {out}: {error.strerror}") from None


def available_cpus() -> int:
    """Number of CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
