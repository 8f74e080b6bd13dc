"""The stencil operators themselves: real and fake calls refuse in the same words; so are other devices."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from qcore._ops import stencil as ops
from qcore.stencil import residual_chain

X, TAPS, BIAS = torch.randn(2, 3, 5, 4), torch.randn(6, 3, 3, 3), torch.randn(6, 3)
GOOD = [X, TAPS, BIAS, 1.0, "leaky_relu", 0.01, "zero", "auto"]
# position, value, error, words
FORWARD: list[tuple[int, Any, type[Exception], str]] = [
    (
        0,
        X.double(),
        TypeError,
        "taps: expected dtype one of torch.float64 for x of torch.float64, got torch.float32",
    ),
    (0, X.int(), TypeError, "x: expected one of torch.float32"),
    (0, X[0], ValueError, "taps: expected shape"),
    (0, X[0, 0], ValueError, "x: expected shape"),
    (0, X[:, :2], ValueError, "taps: expected shape"),
    (0, X.bfloat16().double(), TypeError, "taps: expected dtype"),
    (1, TAPS.bfloat16(), TypeError, "taps: expected dtype one of torch.float32"),
    (1, TAPS[..., :2], ValueError, "taps: expected odd kernel sizes"),
    (1, TAPS[..., :0], ValueError, "taps: expected odd kernel sizes"),
    (1, torch.randn(6, 3, 3, 9), ValueError, "taps: expected odd kernel sizes"),
    (1, TAPS[0], ValueError, "taps: expected shape"),
    (1, TAPS[:, :2], ValueError, "taps: expected shape"),
    (2, BIAS[0], ValueError, "bias: expected shape"),
    (2, BIAS[:5], ValueError, "bias: expected shape"),
    (2, BIAS[:, :2], ValueError, "bias: expected shape"),
    (2, BIAS.double(), TypeError, "bias: expected the dtype of taps, torch.float32, got torch.float64"),
    (4, "swish", ValueError, "activation: expected one of"),
    (5, -1.0, ValueError, "slope: expected a number >= 0"),
    (5, math.nan, ValueError, "slope: expected a number >= 0"),
    (6, "wrap", ValueError, "boundary: expected one of"),
    (7, "gpu", ValueError, "backend: expected one of"),
]


def _raised(call: Callable[[], Any]) -> Exception:
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    return caught.value


def _fake(args: list[Any]) -> list[Any]:
    mode = FakeTensorMode()
    return [mode.from_tensor(a) if isinstance(a, Tensor) else a for a in args]


@pytest.mark.parametrize(("position", "value", "error", "words"), FORWARD)
def test_real_and_fake_operators_refuse_alike(
    position: int, value: Any, error: type[Exception], words: str
) -> None:
    args = [*GOOD]
    args[position] = value
    real, fake = (_raised(lambda a=a: ops.forward(*a)) for a in (args, _fake(args)))
    assert type(real) is type(fake) is error
    assert str(real) == str(fake)
    assert re.match(words, str(real))
    saved = [*args[:7], 2, 3, args[7]]
    assert str(_raised(lambda: ops.saved(*saved))) == str(real)


def test_complex_operators_refuse_bias_on_real_taps_and_activations() -> None:
    x = X.to(torch.complex64)
    linear = [x, TAPS, None, 1.0, "none", 0.01, "zero", "auto"]
    ops.forward(*linear)
    for position, value, words in (
        (2, BIAS, "taps: expected complex taps"),
        (4, "tanh", "activation: expected 'none'"),
    ):
        args = [*linear]
        args[position] = value
        for call in (args, _fake(args)):
            assert re.match(words, str(_raised(lambda call=call: ops.forward(*call))))


BACKWARD: list[tuple[int, Any, type[Exception], str]] = [
    (0, X[..., :3], ValueError, r"grad_y: expected shape \(2, 3, 5, 4\), got shape \(2, 3, 5, 3\)"),
    (0, X.double(), TypeError, "grad_y: expected dtype torch.float32, got torch.float64"),
    (1, torch.zeros(2, 2, 3, 5, 4), ValueError, r"grad_states: expected shape \(3, 2, 3, 5, 4\)"),
    (1, torch.zeros(3, 2, 3, 5, 4).double(), TypeError, "grad_states: expected dtype torch.float32"),
    (2, X[:, :2], ValueError, "taps: expected shape"),
    (3, torch.zeros(2, 2, 3, 5, 4), ValueError, r"checkpoints: expected shape \(1, 2, 3, 5, 4\)"),
    (3, torch.zeros(1, 2, 3, 5, 4).double(), TypeError, "checkpoints: expected dtype torch.float32"),
    (3, None, ValueError, "checkpoints: expected a tensor for checkpoint_every=3, got None"),
    (4, TAPS[:, :2], ValueError, "taps: expected shape"),
    (5, BIAS[:5], ValueError, "bias: expected shape"),
    (7, "swish", ValueError, "activation: expected one of"),
    (8, -1.0, ValueError, "slope: expected a number >= 0"),
    (9, "wrap", ValueError, "boundary: expected one of"),
    (10, -1, ValueError, "states_every: expected an int >= 0"),
    (11, -1, ValueError, "checkpoint_every: expected an int >= 0"),
    (12, "gpu", ValueError, "backend: expected one of"),
]


@pytest.mark.parametrize(("position", "value", "error", "words"), BACKWARD)
def test_backward_operator_refuses(position: int, value: Any, error: type[Exception], words: str) -> None:
    settings = [1.0, "leaky_relu", 0.01, "zero", 2, 3, "auto", True]
    args: list[Any] = [X, torch.zeros(3, 2, 3, 5, 4), X, torch.zeros(1, 2, 3, 5, 4), TAPS, BIAS, *settings]
    ops.backward(*args)
    args[position] = value
    real, fake = (_raised(lambda a=a: ops.backward(*a)) for a in (args, _fake(args)))
    assert type(real) is type(fake) is error
    assert str(real) == str(fake)
    assert re.match(words, str(real))


def test_mixed_devices_are_refused_by_the_operator() -> None:
    with pytest.raises(ValueError, match="taps: expected the device of x, cpu, got meta"):
        ops.forward(X, TAPS.to("meta"), None, *GOOD[3:])
    with pytest.raises(ValueError, match="bias: expected the device of x, cpu, got meta"):
        ops.forward(X, TAPS, BIAS.to("meta"), *GOOD[3:])


def test_meta_tensors_give_shapes() -> None:
    y, states = residual_chain(X.to("meta"), TAPS.to("meta"), bias=BIAS.to("meta"), states_every=4)
    assert (y.shape, states.shape, y.device.type) == (X.shape, (1, *X.shape), "meta")
