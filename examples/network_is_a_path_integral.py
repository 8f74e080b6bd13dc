"""A trained residual network as a path integral: what agrees, and by how much the usual approximations miss.

Trains a small PDE network on scikit-learn's digits (a few seconds), then compares, for one test image,

- its output with the sum over all gated lattice paths: summed layer by layer, listed one by one, and sampled;
- the summed weights with the Jacobian that autograd gives;
- without its gates, its paths with the kernel of all layers composed; and that kernel with the two
  approximations of the residual-networks paper: 1 + Omega -> e^Omega, and a Gaussian besides.

    python examples/network_is_a_path_integral.py --out path_integral.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from qcore.data import load_digits
from qcore.nn import DigitClassifier
from qcore.residual import composed_kernel, moments, path_sum
from qcore.stencil import residual_chain
from qcore.training import TrainConfig, Trainer

DEPTH = 5
FORMS = {"exact": "exact", "linear": "e^Omega", "pde": "Gaussian"}
WINDOW = 17  # sites along each axis on which kernels are compared


def main() -> None:
    """Train, compare, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("path_integral.png"))
    arguments = parser.parse_args()

    data = load_digits()
    torch.set_num_threads(1)
    trainer = Trainer(TrainConfig("pde2", DEPTH, arguments.epochs, batch_size=16), data)
    trainer.run()
    model: DigitClassifier = trainer.model.double()
    chain, x = model.chain, data.test_images[3:4].double()
    print(f"PDE network 2, depth {DEPTH}: test accuracy {100 * trainer.history[-1].test_accuracy:.1f} %\n")

    with torch.no_grad():
        y = chain(x).flatten()
        taps = chain.taps()
    pixel = int(y.argmax())
    weights = path_sum(chain, x).weights[0]
    listed = path_sum(chain, x, method="enumerate", outputs=[pixel])
    inside = listed.starts[0] >= 0
    one_by_one = (listed.weights[0, 0, inside] * x.flatten()[listed.starts[0, inside]]).sum()
    drawn = path_sum(chain, x, method="sample", outputs=[pixel], samples=20_000)
    jacobian = torch.autograd.functional.jacobian(chain, x).reshape(64, 64)
    gates = residual_chain(x, taps, states_every=1)[1] > 0
    counted = int(inside.sum())
    error = f"{(drawn.estimate - y[pixel]).item() / drawn.error.item():+.1f} standard errors"
    report(
        "with its gates, for one image",
        [
            ("gates that are open", f"{100 * gates.double().mean().item():.1f} %"),
            ("largest |sum over paths - output|", f"{(weights @ x.flatten() - y).abs().max().item():.1e}"),
            ("largest |path weights - Jacobian|", f"{(weights - jacobian).abs().max().item():.1e}"),
            (f"{counted} paths into pixel {pixel}, one by one", f"{(one_by_one - y[pixel]).abs():.1e}"),
            ("20,000 random paths into it", error),
        ],
    )

    kernels = {form: composed_kernel(taps, form=form, sites=WINDOW)[0] for form in FORMS}
    point = torch.zeros(1, 1, WINDOW, WINDOW, dtype=torch.float64)
    point[..., WINDOW // 2, WINDOW // 2] = 1.0
    linear = residual_chain(point, taps, activation="none")[0, 0]
    distance = (kernels["exact"] - linear).abs().max()
    rows = [("largest |composed kernel - chain of an impulse|", f"{distance:.1e}")]
    size = kernels["exact"].abs().sum()
    for form, name in FORMS.items():
        found = moments(taps, form=form)
        off = (kernels[form] - kernels["exact"]).abs().sum() / size
        (x_drift, y_drift), spread = found.mean[0].tolist(), found.covariance[0].diagonal().tolist()
        facts = f"mass {found.mass.item():.3f}   drift {x_drift:+.3f}, {y_drift:+.3f}   variance "
        rows.append((name, f"{facts}{spread[0]:.3f}, {spread[1]:.3f}   off by {100 * off:.1f} %"))
    report("without its gates, all layers as one kernel", rows)

    figure = draw(x[0, 0], y.reshape(8, 8), weights[pixel].reshape(8, 8), pixel, kernels)
    figure.savefig(arguments.out, dpi=150)
    print(arguments.out)


def report(title: str, rows: list[tuple[str, str]]) -> None:
    """Print a block of facts."""
    print(title)
    for name, value in rows:
        print(f"  {name:<48}{value}")
    print()


def draw(x: Tensor, y: Tensor, row: Tensor, pixel: int, kernels: dict[str, Tensor]) -> Figure:
    """Image, output and paths into a pixel; below, the kernel of all layers and what approximations miss."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    upper, lower = figure.subplots(2, 3)
    exact = kernels["exact"]
    panels = [
        (upper[0], x, "image"),
        (upper[1], y, "after the chain"),
        (upper[2], row, "weight of the paths into the cross"),
        (lower[0], exact, "kernel of all layers, no gates"),
        (lower[1], kernels["linear"] - exact, "e^Omega, minus exact"),
        (lower[2], kernels["pde"] - exact, "Gaussian, minus exact"),
    ]
    for axes, field, title in panels:
        peak = float(field.abs().max())
        axes.imshow(field, cmap="RdBu_r", vmin=-peak, vmax=peak)
        axes.set_title(f"{title}\nlargest {peak:.3g}", fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    for axes in upper[1:]:
        axes.plot(pixel % 8, pixel // 8, "k+", markersize=10)
    return figure


if __name__ == "__main__":
    main()
