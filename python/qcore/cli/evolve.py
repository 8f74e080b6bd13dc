"""Draw one digit's state after chosen layers of a chain, as a PNG grid."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from qcore.checkpoint import Checkpoint, load_checkpoint
from qcore.cli import figures
from qcore.cli.arguments import (
    DEFAULTS,
    MODELS,
    CommandError,
    add_data_argument,
    add_model_arguments,
    configured,
    integer,
    load_data,
)
from qcore.data import Digits
from qcore.training import CHAINS

_PANELS = 8
_DIGIT = 3
_OF_A_RUN = ("model", "depth", "seed", "init")


def layer_list(text: str) -> list[int]:
    """An argument type: layer numbers, as in 0,10,15,27."""
    try:
        layers = [int(part) for part in text.split(",")]
    except ValueError:
        layers = [-1]
    if min(layers) < 0 or sorted(set(layers)) != layers:
        raise argparse.ArgumentTypeError(f"expected rising layer numbers such as 0,10,15,27, got {text!r}")
    return layers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="draw a trained chain")
    add_model_arguments(parser, [model for model in MODELS if model != "none"])
    image = parser.add_mutually_exclusive_group()
    image.add_argument(
        "--digit",
        type=integer(0, 10),
        metavar="N",
        help=f"the first test image of this digit (default {_DIGIT})",
    )
    image.add_argument("--index", type=integer(0), metavar="I", help="the test image of this index")
    parser.add_argument(
        "--layers", type=layer_list, metavar="L,L,...", help="0 is the input (default: eight, evenly spread)"
    )
    add_data_argument(parser)
    parser.add_argument(
        "--out", type=Path, metavar="PNG", help="(default evolution.png, beside the checkpoint if any)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Draw the grid."""
    saved = _checkpoint(arguments)
    folder = arguments.data or (saved.source.folder if saved else None)
    if saved is not None:
        chain, model, depth = saved.classifier().chain, saved.config.model, saved.config.depth
        origin = f"trained, epoch {saved.epochs_done}"
    else:
        given = {name: value for name in _OF_A_RUN if (value := getattr(arguments, name)) is not None}
        config = configured(DEFAULTS, **given)
        model, depth = config.model, config.depth
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            chain = CHAINS[model](depth, config.init)
        origin = f"untrained, seed {config.seed}"
    layers = _spread(depth) if arguments.layers is None else arguments.layers
    if layers[-1] > depth:
        raise CommandError(f"--layers: expected layers up to the depth, {depth}, got {layers[-1]}")
    out = arguments.out or (arguments.checkpoint or Path("_")).with_name("evolution.png")
    if out.is_dir():
        raise CommandError(f"--out: expected a PNG file, got the folder {out}")
    data = load_data(folder)
    if saved is not None and data.image_size != saved.source.image_size:
        raise CommandError(
            f"--data: expected images of {saved.source.image_size}, as the checkpoint, got {data.image_size}"
        )
    index = _choose(data, arguments)
    title = f"{model}, depth {depth}, {origin}"
    try:
        draw_evolution(chain, data, layers, out, title=title, index=index)
    except OSError as error:
        raise CommandError(f"--out: cannot write {out}: {error.strerror}") from None
    print(out)
    return 0


def draw_evolution(
    chain: nn.Module, data: Digits, layers: list[int], out: Path, *, title: str, index: int | None = None
) -> None:
    """Draw the states of a test image (the first 3 if ``index`` is None) after the layers, into a PNG file.

    Raises:
        MissingPackage: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    if index is None:
        index = first_of(data, _DIGIT)
    states = states_after(chain, data.test_images[index : index + 1], layers)
    label = int(data.test_labels[index])
    figure = figures.evolution(
        layers, [state[0, 0] for state in states], f"{title}: {data.name} test image {index}, a {label}"
    )
    figures.write_png(figure, out)


def states_after(chain: nn.Module, image: Tensor, layers: list[int]) -> list[Tensor]:
    """States (B, C, H, W) of ``image`` after the given layers, from one call; layer 0 is the image."""
    every = math.gcd(*layers)
    if every == 0:
        return [image for _ in layers]
    with torch.inference_mode():
        _, states = chain(image, states_every=every)
    return [states[layer // every - 1] if layer else image for layer in layers]


def _checkpoint(arguments: argparse.Namespace) -> Checkpoint | None:
    if arguments.checkpoint is None:
        return None
    for name in _OF_A_RUN:
        if getattr(arguments, name) is not None:
            raise CommandError(f"--{name}: not allowed with --checkpoint, which has its own")
    saved = load_checkpoint(arguments.checkpoint)
    if saved.config.model == "none":
        raise CommandError(f"--checkpoint: expected a model with a chain, got {saved.path} of model 'none'")
    return saved


def _choose(data: Digits, arguments: argparse.Namespace) -> int:
    count = len(data.test_labels)
    if arguments.index is not None:
        if arguments.index >= count:
            raise CommandError(f"--index: expected less than the {count} test images, got {arguments.index}")
        return int(arguments.index)
    return first_of(data, _DIGIT if arguments.digit is None else arguments.digit)


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


def _spread(depth: int) -> list[int]:
    """Input and last layer, and up to six evenly between them."""
    panels = min(_PANELS, depth + 1)
    return sorted({round(step * depth / max(panels - 1, 1)) for step in range(panels)})
