"""``qcore evolve``: the states it draws, the image it picks, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from cli.conftest import PNG, Command
from qcore.cli import figures
from qcore.cli.evolve import layer_list, states_after
from qcore.data import load_mnist
from qcore.nn import PDEChain


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], list[torch.Tensor], str]]:
    """What is handed over to be drawn."""
    calls: list[tuple[list[int], list[torch.Tensor], str]] = []
    draw = figures.evolution

    def record(layers: list[int], states: list[torch.Tensor], title: str) -> Figure:
        calls.append((layers, states, title))
        return draw(layers, states, title)

    monkeypatch.setattr(figures, "evolution", record)
    return calls


@pytest.mark.parametrize("layers", [[0], [1], [0, 4, 6], [3, 6], [0, 1, 2, 3, 4, 5, 6, 7], [7]])
def test_states_are_those_of_chains_cut_short(layers: list[int]) -> None:
    chain = PDEChain(7, dtype=torch.float64)
    image = torch.rand(1, 1, 6, 6, dtype=torch.float64)
    for layer, state in zip(layers, states_after(chain, image, layers), strict=True):
        short = PDEChain(layer, dtype=torch.float64)
        short.load_state_dict({name: value[:layer] for name, value in chain.state_dict().items()})
        torch.testing.assert_close(state, short(image), rtol=1e-13, atol=1e-15)


@pytest.mark.usefixtures("real_pictures")
@pytest.mark.parametrize("model", ["pde1", "pde2", "resnet"])
def test_draws_a_fresh_chain(
    command: Command,
    mnist: Path,
    tmp_path: Path,
    drawn: list[tuple[list[int], list[torch.Tensor], str]],
    model: str,
) -> None:
    result = command("evolve", "--model", model, "--depth", 9, "--seed", 2, "--digit", 4, "--data", mnist)
    assert result.status == 0
    assert result.out.strip() == "evolution.png"
    assert (tmp_path / "evolution.png").read_bytes().startswith(PNG)
    (layers, states, title) = drawn[0]
    assert layers == [0, 1, 3, 4, 5, 6, 8, 9]
    data = load_mnist(mnist)
    assert torch.equal(states[0], data.test_images[4, 0])
    assert title == f"{model}, depth 9, untrained, seed 2: mnist test image 4, a 4"


def test_the_seed_decides(
    command: Command, mnist: Path, drawn: list[tuple[list[int], list[torch.Tensor], str]]
) -> None:
    for seed in (0, 0, 1):
        command("evolve", "--depth", 4, "--seed", seed, "--data", mnist)
    (_, one, _), (_, same, _), (_, other, _) = drawn
    assert torch.equal(one[-1], same[-1])
    assert not torch.equal(one[-1], other[-1])


def test_draws_the_trained_chain_of_a_checkpoint(
    command: Command, mnist: Path, drawn: list[tuple[list[int], list[torch.Tensor], str]]
) -> None:
    command("train", "--depth", 4, "--epochs", 2, "--data", mnist, "--out", "run", "--lr", 0.05)
    result = command("evolve", "--checkpoint", "run/checkpoint.pt", "--index", 7, "--layers", "0,2,4")
    assert result.status == 0
    assert result.out.strip() == "run/evolution.png"
    layers, states, title = drawn[0]
    assert layers == [0, 2, 4]
    assert title == "pde2, depth 4, trained, epoch 2: mnist test image 7, a 7"
    from qcore.checkpoint import load_checkpoint

    chain = load_checkpoint("run/checkpoint.pt").classifier().chain
    image = load_mnist(mnist).test_images[7:8]
    torch.testing.assert_close(states[-1], chain(image)[0, 0].detach())


def test_bundled_digits_and_a_chosen_file(command: Command) -> None:
    assert command("evolve", "--depth", 2, "--out", "three.png").status == 0
    assert Path("three.png").read_bytes().startswith(PNG)


@pytest.mark.usefixtures("real_pictures")
def test_depth_zero_and_an_empty_image_can_be_drawn(command: Command, mnist: Path) -> None:
    assert command("evolve", "--depth", 0, "--data", mnist).status == 0
    figure = figures.evolution([0, 1], [torch.zeros(4, 4), torch.full((4, 4), float("nan"))], "nothing")
    figures.write_png(figure, Path("nothing.png"))
    assert Path("nothing.png").read_bytes().startswith(PNG)


def test_layer_lists() -> None:
    assert layer_list("0,10,15,27") == [0, 10, 15, 27]
    assert layer_list("3") == [3]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--layers", "0,x"), ["--layers: expected rising layer numbers", "got '0,x'"]),
        (("--layers", ""), ["--layers: expected rising layer numbers", "got ''"]),
        (("--layers", "3,2"), ["--layers: expected rising layer numbers", "got '3,2'"]),
        (("--layers", "2,2"), ["--layers: expected rising layer numbers"]),
        (("--layers=-1,2",), ["--layers: expected rising layer numbers"]),
        (("--layers", "0,5", "--depth", "4"), ["--layers: expected layers up to the depth, 4, got 5"]),
        (("--digit", "10"), ["--digit: expected an integer of at least 0 and less than 10, got '10'"]),
        (("--index", "20"), ["--index: expected less than the 20 test images, got 20"]),
        (("--index", "1.5"), ["--index: expected an integer of at least 0, got '1.5'"]),
        (("--index", "1", "--digit", "1"), ["--digit: not allowed with argument --index"]),
        (("--model", "none"), ["--model: invalid choice: 'none'"]),
        (("--depth", "-1"), ["--depth: expected an integer of at least 0, got '-1'"]),
        (("--out", "/proc/qcore/a.png"), ["--out: cannot write /proc/qcore/a.png: "]),
        (("--out", "."), ["--out: expected a PNG file, got the folder ."]),
        (("--checkpoint", "nothing.pt"), ["nothing.pt: no such checkpoint"]),
        (("--checkpoint", "nothing.pt", "--depth", "3"), ["--depth: not allowed with --checkpoint"]),
    ],
)
def test_refuses(command: Command, mnist: Path, arguments: tuple[str, ...], parts: list[str]) -> None:
    assert command("evolve", "--data", mnist, *arguments).refused(*parts)
    assert list(Path().iterdir()) == []


def test_refuses_a_digit_that_is_not_there(command: Command, tmp_path: Path) -> None:
    from idx_files import write_mnist

    few = write_mnist(tmp_path / "few", test=5)
    assert command("evolve", "--data", few, "--digit", 7).refused(
        "--digit: expected a digit that the 5 test images"
    )


def test_refuses_a_checkpoint_without_a_chain_or_of_other_images(command: Command, mnist: Path) -> None:
    command("train", "--model", "none", "--epochs", 1, "--data", mnist, "--out", "head")
    result = command("evolve", "--checkpoint", "head/checkpoint.pt")
    assert result.refused(
        "--checkpoint: expected a model with a chain, got head/checkpoint.pt of model 'none'"
    )
    command("train", "--depth", 1, "--epochs", 1, "--data", mnist, "--out", "run")
    from idx_files import write_mnist

    other = write_mnist(Path("other"), size=9)
    result = command("evolve", "--checkpoint", "run/checkpoint.pt", "--data", other)
    assert result.refused("--data: expected images of (6, 6), as the checkpoint, got (9, 9)")


def test_without_matplotlib(command: Command, mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = command("evolve", "--data", mnist)
    assert result.refused("drawing a picture needs matplotlib", 'pip install "qcore-kernels[demo]"')


@pytest.mark.usefixtures("real_pictures")
def test_figures_touch_no_global_state(command: Command, mnist: Path) -> None:
    import matplotlib

    before = matplotlib.get_backend(auto_select=False)
    command("evolve", "--depth", 2, "--data", mnist)
    assert matplotlib.get_backend(auto_select=False) == before
    assert "matplotlib.pyplot" not in sys.modules
