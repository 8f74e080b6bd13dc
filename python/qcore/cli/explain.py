"""Draw where the paths into one output pixel of a trained chain come from, and what each layer does."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from qcore.cli import figures
from qcore.cli.arguments import CommandError, add_data_argument
from qcore.cli.pictures import (
    add_image_arguments,
    chain_checkpoint,
    choose_image,
    data_for,
    out_file,
    write,
)
from qcore.nn import StencilODE
from qcore.residual import Layers, layers, mass_kept, path_sum


def pixel(text: str) -> tuple[int, int]:
    """An argument type: row and column, as in 14,9."""
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"expected ROW,COLUMN such as 14,9, got {text!r}")
    return int(parts[0]), int(parts[1])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", required=True, help="a trained chain")
    add_image_arguments(parser)
    parser.add_argument(
        "--pixel",
        type=pixel,
        metavar="ROW,COLUMN",
        help="output pixel whose paths are drawn (default: the brightest)",
    )
    add_data_argument(parser)
    parser.add_argument(
        "--out", type=Path, metavar="PNG", help="(default explanation.png, beside the checkpoint)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Draw the picture and print the verdict."""
    saved = chain_checkpoint(arguments.checkpoint)
    out = out_file(arguments.out, arguments.checkpoint, "explanation.png")
    data = data_for(saved, arguments.data)
    index = choose_image(data, arguments)
    chain = saved.classifier().chain.double()
    if isinstance(chain, StencilODE):  # its Euler steps are layers
        chain = chain.as_chain()
    image = data.test_images[index : index + 1].double()
    with torch.no_grad():
        output = chain(image)
    target = _pixel(arguments.pixel, output[0, 0])
    width = image.shape[-1]
    paths = path_sum(chain, image, outputs=torch.tensor([target[0] * width + target[1]]))
    weights = paths.weights[0, 0].reshape(image.shape[-2:])
    found = layers(chain)
    kept = mass_kept(chain, image)[:, 0]
    config = saved.config
    title = (
        f"{config.model}, depth {config.depth}, trained, epoch {saved.epochs_done}: {data.name} test image "
        f"{index}, a {int(data.test_labels[index])}"
    )
    figure = figures.explanation(image[0, 0], output[0, 0], weights, target, found, kept, title)
    write(figure, out)
    print("\n".join(verdict(found, kept, weights, image[0, 0], target)))
    print(out)
    return 0


def verdict(found: Layers, kept: Tensor, weights: Tensor, image: Tensor, pixel: tuple[int, int]) -> list[str]:
    """What the picture shows, one fact on a line."""
    height, width = image.shape
    depth = len(found.gain)
    drift, variance = found.drift.sum(0), found.variance.sum(0)
    share = float(kept[-1])
    grows, walks = int((~found.stable).sum()), int(found.positive.sum())
    origin = _centre_of(weights.abs() * image.abs())
    lines = [
        f"drift        {_shift(drift)}, in a frame of {width} x {height} pixels",
        f"             {_shift(drift / max(depth, 1))} a layer",
        f"spreading    variance {variance[0]:.2f} in x, {variance[1]:.2f} in y (signed weights: may be < 0)",
        f"gain         of a wave at most {float(found.gain.log().sum().exp()):.3g} over all layers",
        f"stability    {'not ' if grows else ''}stable: {grows} of {depth} layers amplify some wave; "
        f"{walks} are steps of a random walk",
        f"mass         {100 * share:.3g} % of the image's mass is left",
    ]
    where = f"pixel {pixel[0]},{pixel[1]}"
    if origin is None:
        lines.append(f"paths        none brings anything to {where}")
    else:
        lines.append(f"paths        {where} is fed from around {origin[0]:.0f},{origin[1]:.0f} of the input")
    if share < 0.01:
        end = "the layers extinguish the image"
    elif abs(drift[0]) > width / 2 or abs(drift[1]) > height / 2:
        end = "the layers carry the image out of its frame, where it is lost"
    else:
        end = "the image arrives"
    return [*lines, f"verdict      {end}"]


def _shift(drift: Tensor) -> str:
    x, y = float(drift[0]), float(drift[1])
    return f"{abs(x):.2f} {'right' if x > 0 else 'left'} and {abs(y):.2f} {'down' if y > 0 else 'up'}"


def _centre_of(weight: Tensor) -> tuple[float, float] | None:
    """Row and column of the centre of mass, None where there is none."""
    total = float(weight.sum())
    if not total > 0:
        return None
    rows, columns = (torch.arange(n, dtype=weight.dtype) for n in weight.shape)
    return float((weight.sum(1) * rows).sum() / total), float((weight.sum(0) * columns).sum() / total)


def _pixel(given: tuple[int, int] | None, output: Tensor) -> tuple[int, int]:
    height, width = output.shape
    if given is None:
        row, column = divmod(int(output.argmax()), width)
        return row, column
    if given[0] >= height or given[1] >= width:
        raise CommandError(f"--pixel: expected ROW,COLUMN below {height},{width}, got {given[0]},{given[1]}")
    return given
