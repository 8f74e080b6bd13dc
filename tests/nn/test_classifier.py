"""The digit classifier: its shape, its parts, and its refusals."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from qcore.nn import DigitClassifier, PDEChain, ResidualChain


def test_is_chain_flatten_and_three_linear_layers() -> None:
    model = DigitClassifier(PDEChain(2))
    linear = [layer for layer in model.head if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(784, 128), (128, 64), (64, 10)]
    x = torch.rand(5, 1, 28, 28)
    u = model.chain(x).flatten(1)
    for layer in linear[:-1]:
        u = torch.relu(layer(u))
    torch.testing.assert_close(model(x), linear[-1](u))
    assert model(x).shape == (5, 10)


@pytest.mark.parametrize(
    "chain", [PDEChain(0), nn.Identity(), ResidualChain(3), PDEChain(4, advection=-0.125)]
)
def test_gradients_reach_every_parameter(chain: nn.Module) -> None:
    model = DigitClassifier(copy.deepcopy(chain), (7,), image_size=6)
    F.cross_entropy(model(torch.rand(8, 1, 6, 6)), torch.arange(8)).backward()
    for name, parameter in model.named_parameters():
        if parameter.numel():
            assert parameter.grad is not None, name
            assert torch.count_nonzero(parameter.grad) > 0, name


def test_other_sizes() -> None:
    model = DigitClassifier(
        ResidualChain(1, 3), (), image_size=(4, 6), channels=3, classes=7, dtype=torch.float64
    )
    model.chain.double()
    assert model(torch.rand(2, 3, 4, 6, dtype=torch.float64)).shape == (2, 7)
    assert sum(isinstance(layer, nn.Linear) for layer in model.head) == 1
    assert model(torch.rand(0, 3, 4, 6, dtype=torch.float64)).shape == (0, 7)


def test_state_dict_round_trip() -> None:
    model, other = (DigitClassifier(PDEChain(2), image_size=8) for _ in range(2))
    x = torch.rand(3, 1, 8, 8)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))
    assert torch.equal(copy.deepcopy(model)(x), model(x))
    assert "chain.alpha" in model.state_dict()


BAD = {
    "chain a function": ({"chain": torch.relu}, TypeError, "chain: expected a torch.nn.Module, got builtin"),
    "hidden zero": ({"hidden": (16, 0)}, ValueError, "hidden: expected at least 1, got 0"),
    "hidden a float": ({"hidden": (16.0,)}, TypeError, "hidden: expected an int >= 0, got float"),
    "image_size zero": ({"image_size": 0}, ValueError, "image_size: expected at least 1, got 0"),
    "image_size negative": ({"image_size": (3, -1)}, ValueError, "image_size: expected an int >= 0, got -1"),
    "channels zero": ({"channels": 0}, ValueError, "channels: expected at least 1, got 0"),
    "classes zero": ({"classes": 0}, ValueError, "classes: expected at least 1, got 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(case: str) -> None:
    options, error, message = BAD[case]
    with pytest.raises(error, match=message):
        DigitClassifier(**({"chain": PDEChain(1)} | options))


def test_forward_refuses_other_images() -> None:
    model = DigitClassifier(PDEChain(1))
    with pytest.raises(ValueError, match=r"x: expected shape \(B, 1, 28, 28\), got shape \(2, 1, 8, 8\)"):
        model(torch.rand(2, 1, 8, 8))
    with pytest.raises(TypeError, match=r"x: expected a torch.Tensor, got NoneType"):
        model(None)
