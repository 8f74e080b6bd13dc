"""``qcore explain``: what it draws and says about a trained chain, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from cli.conftest import PNG, Command
from qcore import checkpoint
from qcore.cli import figures
from qcore.cli.explain import verdict
from qcore.data import load_mnist
from qcore.nn import PDEChain, StencilODE
from qcore.residual import layers
from qcore.training import TrainConfig, Trainer


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What is handed over to be drawn."""
    calls: list[tuple[object, ...]] = []
    draw = figures.explanation

    def record(*given: object) -> Figure:
        calls.append(given)
        return draw(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(figures, "explanation", record)
    return calls


@pytest.fixture
def trained(command: Command, mnist: Path) -> Path:
    """A checkpoint of a small PDE network."""
    assert command("train", "--depth", 4, "--epochs", 1, "--data", mnist, "--out", "run").status == 0
    return Path("run/checkpoint.pt")


@pytest.mark.usefixtures("real_pictures")
@pytest.mark.parametrize("model", ["pde1", "resnet", "ode"])
def test_draws_the_paths_into_a_pixel(
    command: Command, mnist: Path, drawn: list[tuple[object, ...]], model: str
) -> None:
    command("train", "--model", model, "--depth", 3, "--epochs", 1, "--data", mnist, "--out", "run")
    result = command("explain", "--checkpoint", "run/checkpoint.pt", "--digit", 4, "--pixel", "2,5")
    assert result.status == 0, result.err
    assert Path("run/explanation.png").read_bytes().startswith(PNG)
    assert result.out.splitlines()[-1] == "run/explanation.png"
    ((image, output, weights, pixel, found, kept, title),) = drawn
    assert isinstance(image, torch.Tensor)
    assert isinstance(output, torch.Tensor)
    assert isinstance(weights, torch.Tensor)
    assert isinstance(kept, torch.Tensor)
    assert torch.equal(image, load_mnist(mnist).test_images[4, 0].double())
    assert pixel == (2, 5)
    assert title == f"{model}, depth 3, trained, epoch 1: mnist test image 4, a 4"

    # The weights are the row of the Jacobian, and what they bring is the output.
    chain = checkpoint.load_checkpoint("run/checkpoint.pt").classifier().chain.double()
    x = image[None, None].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(chain(x)[0, 0, 2, 5], x)
    torch.testing.assert_close(weights, gradient[0, 0], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close((weights * image).sum(), output[2, 5], rtol=1e-12, atol=1e-14)
    layered = chain.as_chain() if isinstance(chain, StencilODE) else chain
    assert all(map(torch.equal, found, layers(layered)))  # type: ignore[call-overload]
    assert kept.shape == (4,)


def test_brightest_pixel_is_the_default(
    command: Command, trained: Path, drawn: list[tuple[object, ...]]
) -> None:
    assert command("explain", "--checkpoint", trained, "--index", 3, "--out", "here.png").status == 0
    _, output, _, pixel, *_ = drawn[0]
    assert isinstance(output, torch.Tensor)
    assert isinstance(pixel, tuple)
    assert output[pixel] == output.max()
    assert Path("here.png").exists()


def told(chain: PDEChain, image: torch.Tensor, kept: list[float]) -> str:
    weights = torch.ones_like(image)
    return "\n".join(verdict(layers(chain), torch.tensor(kept), weights, image, (0, 0)))


def test_verdicts() -> None:
    chain = PDEChain(20, dtype=torch.float64)
    image = torch.ones(8, 6, dtype=torch.float64)
    with torch.no_grad():
        for parameter, value in zip(chain.parameters(), (0.6, 0.3, 0.5, 0.0, 0.0), strict=True):
            parameter.fill_(value)
        text = told(chain, image, [1.0, 0.5])
        assert "6.00 left and 0.00 up, in a frame of 6 x 8 pixels" in text
        assert "stability    stable: 0 of 20 layers amplify some wave; 20 are steps of a random walk" in text
        assert "fed from around 4,2 of the input" in text
        assert text.endswith("the layers carry the image out of its frame, where it is lost")
        assert told(chain, image, [1.0, 0.001]).endswith("the layers extinguish the image")
        assert "none brings anything" in told(chain, torch.zeros(8, 6), [1.0, 0.5])
        chain.beta.fill_(0.02)
        chain.alpha.fill_(1.2)
        text = told(chain, image, [1.0, 0.5])
        assert "not stable: 20 of 20 layers amplify" in text
        assert text.endswith("the image arrives")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((), ("--checkpoint",)),
        (("--checkpoint", "nowhere.pt"), ("nowhere.pt: no such checkpoint",)),
        (("--checkpoint", "run/metrics.json"), ("expected a checkpoint",)),
        (
            ("--checkpoint", "run/checkpoint.pt", "--pixel", "6,0"),
            ("--pixel: expected ROW,COLUMN below 6,6", "got 6,0"),
        ),
        (("--checkpoint", "run/checkpoint.pt", "--pixel", "3"), ("--pixel", "expected ROW,COLUMN", "'3'")),
        (("--checkpoint", "run/checkpoint.pt", "--pixel", "-1,2"), ("--pixel",)),
        (("--checkpoint", "run/checkpoint.pt", "--digit", 10), ("--digit",)),
        (("--checkpoint", "run/checkpoint.pt", "--index", 99), ("--index: expected less than the 20",)),
        (
            ("--checkpoint", "run/checkpoint.pt", "--out", "run"),
            ("--out: expected a PNG file, got the folder run",),
        ),
        (("--checkpoint", "run/checkpoint.pt", "--out", "no/x.png"), ("--out: cannot write no/x.png",)),
        (("--checkpoint", "run/checkpoint.pt", "--data", "nowhere"), ("nowhere: no such folder",)),
    ],
)
@pytest.mark.usefixtures("trained")
def test_refuses(command: Command, arguments: tuple[object, ...], parts: tuple[str, ...]) -> None:
    assert command("explain", *arguments).refused(*parts)
    assert not Path("run/explanation.png").exists()


def test_refuses_a_head_without_chain(command: Command, mnist: Path) -> None:
    trainer = Trainer(TrainConfig("none", 0, epochs=1), load_mnist(mnist))
    checkpoint.save_checkpoint("none.pt", trainer, checkpoint.DataSource.of(trainer.data, mnist))
    assert command("explain", "--checkpoint", "none.pt").refused("expected a model with a chain", "'none'")
