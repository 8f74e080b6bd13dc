"""The stencil family on CUDA tensors without a GPU: shapes, devices, and no mixing of them."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses import FakeTensorMode

from qcore._ops import stencil as ops
from qcore.stencil import residual_chain


@pytest.mark.parametrize("shape", [(2, 3, 9), (2, 3, 8, 9), (2, 3, 5, 6, 7)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64], ids=str)
def test_chain(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    with FakeTensorMode(), torch.device("cuda"):
        x = torch.empty(shape, dtype=dtype)
        taps, skip = torch.empty(4, 3, *[3] * (len(shape) - 2), dtype=dtype), torch.empty(4, 3, dtype=dtype)
        activation = "none" if dtype.is_complex else "relu"
        y, states = residual_chain(
            x, taps, skip=skip, bias=torch.empty(4, dtype=dtype), activation=activation, states_every=2
        )
    assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, x.device)
    assert (states.shape, states.dtype, states.device) == ((2, *x.shape), x.dtype, x.device)


def test_gradients() -> None:
    """The operator itself: torch's engine for a GPU does not run without one."""
    with FakeTensorMode(), torch.device("cuda"):
        x, taps, bias = torch.empty(2, 3, 8, 9), torch.empty(4, 3, 3, 3), torch.empty(4, 1)
        settings = (1.0, "relu", 0.01, "zero", 0, 0, "auto", True)
        gradients = ops.backward(x, None, x, None, taps, bias, *settings)
    for gradient, to in zip(gradients, (x, taps, bias), strict=True):
        assert (gradient.shape, gradient.dtype, gradient.device) == (to.shape, to.dtype, to.device)


def test_mixed_devices() -> None:
    with FakeTensorMode(), pytest.raises(ValueError, match="cuda"):
        residual_chain(torch.empty(2, 1, 4, device="cuda"), torch.empty(1, 1, 3))
