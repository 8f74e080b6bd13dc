"""What the compiled module takes as an array: tensors, NumPy arrays, buffers, anything with DLPack."""

from __future__ import annotations

import array
import gc
import sys
import weakref
from typing import Any

import numpy as np
import pytest
import torch

from qcore import _core

NUMPY = [np.float32, np.float64, np.float16, np.complex64, np.complex128]
COMPUTE = {np.float16: np.float32}
SETTINGS = (1.0, 0, 0.01, 0, 0, 0, 0)


def chain_of_ones(x: Any, y: Any, taps: Any = None) -> None:
    """One step that doubles every point."""
    if taps is None:
        compute = COMPUTE.get(x.dtype.type, x.dtype.type) if isinstance(x, np.ndarray) else x.dtype
        taps = (
            np.ones((1, 1, 1), compute) if isinstance(x, np.ndarray) else torch.ones(1, 1, 1, dtype=compute)
        )
    _core.stencil_residual_chain(x, taps, None, y, None, None, *SETTINGS)


@pytest.mark.parametrize("dtype", NUMPY)
def test_numpy_arrays(dtype: Any) -> None:
    base = np.arange(2 * 3 * 8, dtype=dtype).reshape(2, 3, 8)
    layouts = {
        "contiguous": base,
        "Fortran order": np.asfortranarray(base),
        "every second, backwards": base[:, :, ::-2],
        "all axes backwards": base[::-1, ::-1, ::-1],
        "broadcast": np.broadcast_to(base[:1, :, :1], base.shape),
        "transposed": base.transpose(0, 2, 1),
        "empty": base[:0],
        "offset by one element": np.concatenate([base.ravel()[:1], base.ravel()])[1:].reshape(base.shape),
    }
    for name, x in layouts.items():
        y = np.empty(x.shape, dtype)
        chain_of_ones(x, y)
        np.testing.assert_array_equal(y, 2 * x, err_msg=name)


def test_numpy_and_torch_and_plain_buffers_mix() -> None:
    x = torch.arange(12.0, dtype=torch.float64).view(1, 2, 6)
    y = np.empty((1, 2, 6))
    taps = memoryview(array.array("d", [1.0])).cast("B").cast("d", (1, 1, 1))
    chain_of_ones(x, y, taps)
    np.testing.assert_array_equal(y, 2 * x.numpy())
    out = memoryview(bytearray(96)).cast("d", (1, 2, 6))
    chain_of_ones(memoryview(y), out, taps)
    np.testing.assert_array_equal(np.asarray(out), 4 * x.numpy())


@pytest.mark.parametrize("dtype", NUMPY)
def test_read_only_numpy_inputs(dtype: Any) -> None:
    x = np.arange(6, dtype=dtype).reshape(1, 1, 6)
    x.flags.writeable = False
    taps = np.ones((1, 1, 1), COMPUTE.get(dtype, dtype))
    taps.flags.writeable = False
    y = np.empty_like(x)
    chain_of_ones(x, y, taps)
    np.testing.assert_array_equal(y, 2 * x)
    with pytest.raises(ValueError, match=r"^y: .*writable.*read-only"):
        chain_of_ones(y, x, taps)
    np.testing.assert_array_equal(x.ravel(), np.arange(6))


def test_read_only_buffers_are_no_outputs() -> None:
    x = np.zeros((1, 1, 4))
    with pytest.raises(ValueError, match=r"^y: .*read-only"):
        chain_of_ones(x, memoryview(bytes(32)).cast("d", (1, 1, 4)), np.ones((1, 1, 1)))


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64, torch.complex128]
)
def test_torch_tensors(dtype: torch.dtype) -> None:
    compute = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
    x = torch.randint(-9, 9, (2, 3, 8)).to(dtype)
    kinds = {
        "tensor": x,
        "parameter": torch.nn.Parameter(x.clone()),
        "requires grad": x.clone().requires_grad_(),
        "result with a history": x.clone().requires_grad_() * 1,
        "expanded": x[:, :1].expand(-1, 3, -1),
        "resolved conjugate": x.conj().resolve_conj(),
    }
    for name, tensor in kinds.items():
        y = torch.empty(tensor.shape, dtype=dtype)
        chain_of_ones(tensor, y, torch.ones(1, 1, 1, dtype=compute))
        assert torch.equal(y, 2 * x.expand_as(y) if name != "expanded" else 2 * tensor), name


def test_conj_of_a_real_tensor_is_no_conjugate_view() -> None:
    x, y = torch.ones(1, 1, 3).conj(), torch.empty(1, 1, 3)
    chain_of_ones(x, y)
    assert (y == 2).all()


def test_tensor_subclass_is_a_tensor() -> None:
    class Mine(torch.Tensor):
        pass

    x, y = torch.ones(1, 1, 3).as_subclass(Mine), torch.empty(1, 1, 3).as_subclass(Mine)
    chain_of_ones(x, y)
    assert (torch.Tensor(y) == 2).all()


def test_large_strides_are_64_bit() -> None:
    """A view whose strides overflow 32 bits, of memory that need not exist beyond its one value."""
    base = torch.full((1,), 3.0)
    x = base.expand(2, 2, 9).as_strided((1, 1, 9), (2**40, 2**35, 0))
    y = torch.empty(1, 1, 9)
    chain_of_ones(x, y)
    assert (y == 6.0).all()


class OnlyDLPack:
    """An array library that speaks nothing but __dlpack__."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.value.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self.value.__dlpack_device__()


def test_objects_with_dlpack_only() -> None:
    x = np.arange(6.0).reshape(1, 1, 6)
    y = np.empty_like(x)
    chain_of_ones(OnlyDLPack(x), OnlyDLPack(y), OnlyDLPack(np.ones((1, 1, 1))))
    np.testing.assert_array_equal(y, 2 * x)
    z = torch.empty(1, 1, 6, dtype=torch.float64)
    chain_of_ones(OnlyDLPack(torch.from_numpy(x)), OnlyDLPack(z), OnlyDLPack(np.ones((1, 1, 1))))
    assert torch.equal(z, 2 * torch.from_numpy(x))


def test_no_reference_is_kept() -> None:
    """Arguments die when their owner lets go of them, on every way in, after success and after failure."""
    for wrap in (lambda t: t, lambda t: OnlyDLPack(t), lambda t: OnlyDLPack(t.numpy()), lambda t: t.numpy()):
        x = torch.ones(1, 1, 50)
        y, taps, held = torch.empty(1, 1, 50), torch.ones(1, 1, 1), weakref.ref(x)
        for _ in range(20):
            chain_of_ones(wrap(x), wrap(y), wrap(taps))
            with pytest.raises(ValueError, match=r"^y: "):
                chain_of_ones(wrap(x), wrap(torch.empty(1, 1, 49)), wrap(taps))
        del x
        gc.collect()
        assert held() is None
    a = np.ones((1, 1, 5))
    before = sys.getrefcount(a)
    for _ in range(100):
        chain_of_ones(a, np.empty_like(a))
        a.flags.writeable = not a.flags.writeable  # by turns by DLPack and by buffer
    assert sys.getrefcount(a) == before
