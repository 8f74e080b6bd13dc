"""Draw one digit's state after chosen layers of a chain, as a PNG grid."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from qcore.checkpoint import Checkpoint
from qcore.cli import figures
from qcore.cli.arguments import (
    DEFAULTS,
    MODELS,
    CommandError,
    add_data_argument,
    add_model_arguments,
    configured,
    load_data,
)
from qcore.cli.pictures import (
    DIGIT,
    add_image_arguments,
    chain_checkpoint,
    choose_image,
    data_for,
    first_of,
    out_file,
    write,
)
from qcore.data import Digits
from qcore.training import CHAINS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = 8
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
    add_image_arguments(parser)
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
    out = out_file(arguments.out, arguments.checkpoint, "evolution.png")
    data = load_data(arguments.data) if saved is None else data_for(saved, arguments.data)
    index = choose_image(data, arguments)
    title = f"{model}, depth {depth}, {origin}"
    write(evolution(chain, data, layers, title=title, index=index), out)
    print(out)
    return 0


def evolution(
    chain: nn.Module, data: Digits, layers: list[int], *, title: str, index: int | None = None
) -> Figure:
    """A picture of the states of a test image (the first 3 if ``index`` is None) after the layers.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    if index is None:
        index = first_of(data, DIGIT)
    states = states_after(chain, data.test_images[index : index + 1], layers)
    image = f"{data.name} test image {index}, a {int(data.test_labels[index])}"
    return figures.evolution(layers, [state[0, 0] for state in states], f"{title}: {image}")


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
    return chain_checkpoint(arguments.checkpoint)


def _spread(depth: int) -> list[int]:
    """Input and last layer, and up to six evenly between them."""
    panels = min(_PANELS, depth + 1)
    return sorted({round(step * depth / max(panels - 1, 1)) for step in range(panels)})
