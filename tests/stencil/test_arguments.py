"""Every argument of every public stencil function, broken: one message each, naming expected and got."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from qcore import stencil
from qcore._ops.stencil_check import TAPS_DTYPES
from qcore.stencil import pde_taps, residual_chain, stability, symbol


def good_chain() -> dict[str, Any]:
    return {
        "x": torch.randn(2, 3, 5, 4),
        "taps": torch.randn(6, 3, 3, 3),
        "skip": torch.randn(6, 3),
        "bias": torch.randn(6, 3),
        "activation": "leaky_relu",
    }


Break = tuple[str, Any, type[Exception], str]

INT, F64, C64 = torch.int64, torch.float64, torch.complex64

# (argument, what to put there, error, its words)
CHAIN: list[Break] = [
    ("x", [[[1.0]]], TypeError, "x: expected a torch.Tensor, got list"),
    ("x", np.zeros((2, 3, 5, 4), np.float32), TypeError, "x: expected a torch.Tensor, got ndarray"),
    ("x", None, TypeError, "x: expected a torch.Tensor, got NoneType"),
    (
        "x",
        torch.zeros(2, 3, 5, 4, dtype=torch.int32),
        TypeError,
        "x: expected one of torch.float32, .*got torch.int32",
    ),
    (
        "x",
        torch.zeros(2, 3, 5, 4, dtype=torch.bool),
        TypeError,
        "x: expected one of torch.float32, .*got torch.bool",
    ),
    (
        "x",
        torch.randn(3, 5),
        ValueError,
        r"x: expected shape \(B, C, \*S\) with 1 to 3 space axes, got shape \(3, 5\)",
    ),
    ("x", torch.randn(()), ValueError, r"x: expected shape \(B, C, \*S\).*got shape \(\)"),
    ("x", torch.randn(2, 3, 5, 4, 5, 4), ValueError, "x: expected shape .* with 1 to 3 space axes"),
    (
        "x",
        torch.randn(2, 3, 5),
        ValueError,
        r"taps: expected shape \(T, 1 or 3, K\) .*got shape \(6, 3, 3, 3\)",
    ),
    (
        "x",
        torch.randn(2, 4, 5, 4),
        ValueError,
        r"taps: expected shape \(T, 1 or 4, K, K\) for x of shape \(2, 4, 5, 4\)",
    ),
    ("x", torch.randn(2, 3, 5, 4, dtype=F64), TypeError, "taps: expected one of torch.float64 for x of"),
    (
        "x",
        torch.randn(2, 3, 5, 4, device="meta"),
        ValueError,
        "taps: expected the device of x, meta, got cpu",
    ),
    (
        "x",
        torch.randn(2, 3, 5, 4).to_sparse(),
        NotImplementedError,
        "expected dense tensors on CPU or CUDA, got torch.sparse_coo",
    ),
    (
        "x",
        torch.randn(2, 3, 5, 4, dtype=C64),
        ValueError,
        "activation: expected 'none' for complex x, got 'leaky_relu'",
    ),
    ("taps", 3.0, TypeError, "taps: expected a torch.Tensor, got float"),
    (
        "taps",
        torch.zeros(6, 3, 3, 3, dtype=INT),
        TypeError,
        "taps: expected one of torch.float32 .*got torch.int64",
    ),
    ("taps", torch.randn(6, 3, 3, 3, dtype=F64), TypeError, "taps: .*got torch.float64"),
    ("taps", torch.randn(6, 3, 3, 3).bfloat16(), TypeError, "taps: .*got torch.bfloat16"),
    ("taps", torch.randn(6, 3, 3, 3, dtype=C64), TypeError, "taps: .*got torch.complex64"),
    (
        "taps",
        torch.randn(6, 3, 3),
        ValueError,
        r"taps: expected shape \(T, 1 or 3, K, K\).*got shape \(6, 3, 3\)",
    ),
    (
        "taps",
        torch.randn(6, 2, 3, 3),
        ValueError,
        r"taps: expected shape \(T, 1 or 3, K, K\).*got shape \(6, 2, 3, 3\)",
    ),
    ("taps", torch.randn(3, 3), ValueError, r"taps: expected shape \(T, 1 or 3, K, K\)"),
    ("taps", torch.randn(()), ValueError, r"taps: expected shape \(T, 1 or 3, K, K\)"),
    ("taps", torch.randn(6, 3, 3, 2), ValueError, "taps: expected odd kernel sizes from 1 to 7, got shape"),
    ("taps", torch.randn(6, 3, 9, 3), ValueError, "taps: expected odd kernel sizes from 1 to 7, got shape"),
    ("taps", torch.randn(6, 3, 0, 3), ValueError, "taps: expected odd kernel sizes from 1 to 7, got shape"),
    (
        "taps",
        torch.randn(6, 3, 3, 3, device="meta"),
        ValueError,
        "taps: expected the device of x, cpu, got meta",
    ),
    ("taps", torch.randn(6, 3, 3, 3).to_sparse(), NotImplementedError, "sparse"),
    ("skip", "1", TypeError, "skip: expected a real number, got str"),
    ("skip", None, TypeError, "skip: expected a real number, got NoneType"),
    ("skip", True, TypeError, "skip: expected a real number, got bool"),
    ("skip", [1.0] * 6, TypeError, "skip: expected a real number, got list"),
    ("skip", 1j, TypeError, "skip: expected a real number, got complex"),
    ("skip", torch.randn(5), ValueError, r"skip: expected shape \(6,\) or \(6, 3\), got shape \(5,\)"),
    ("skip", torch.randn(()), ValueError, r"skip: expected shape \(6,\) or \(6, 3\), got shape \(\)"),
    ("skip", torch.randn(6, 2), ValueError, r"skip: expected shape .*got shape \(6, 2\)"),
    ("skip", torch.randn(6, 3, 1), ValueError, r"skip: expected shape .*got shape \(6, 3, 1\)"),
    ("skip", torch.ones(6, dtype=INT), TypeError, "skip: expected one of torch.float32 .*got torch.int64"),
    ("skip", torch.ones(6, dtype=F64), TypeError, "skip: .*got torch.float64"),
    ("skip", torch.ones(6, device="meta"), ValueError, "skip: expected the device of x, cpu, got meta"),
    ("bias", 0.0, TypeError, "bias: expected a torch.Tensor, got float"),
    ("bias", torch.randn(5), ValueError, r"bias: expected shape \(6,\) or \(6, 3\), got shape \(5,\)"),
    ("bias", torch.randn(6, 2), ValueError, r"bias: expected shape .*got shape \(6, 2\)"),
    ("bias", torch.randn(3), ValueError, r"bias: expected shape .*got shape \(3,\)"),
    ("bias", torch.randn(()), ValueError, r"bias: expected shape .*got shape \(\)"),
    ("bias", torch.ones(6, dtype=torch.int32), TypeError, "bias: .*got torch.int32"),
    ("bias", torch.ones(6, dtype=C64), TypeError, "bias: .*got torch.complex64"),
    ("bias", torch.ones(6, device="meta"), ValueError, "bias: expected the device of x, cpu, got meta"),
    ("activation", "sigmoid", ValueError, "activation: expected one of 'none', 'relu', .*got 'sigmoid'"),
    ("activation", "ReLU", ValueError, "activation: expected one of .*got 'ReLU'"),
    ("activation", None, TypeError, "activation: expected one of 'none', .*got NoneType"),
    ("activation", torch.relu, TypeError, "activation: expected one of 'none', .*got builtin"),
    ("activation", ["relu"], TypeError, "activation: expected one of 'none', .*got list"),
    ("slope", -0.1, ValueError, "slope: expected a number >= 0, got -0.1"),
    ("slope", math.nan, ValueError, "slope: expected a number >= 0, got nan"),
    ("slope", "0.1", TypeError, "slope: expected a real number, got str"),
    ("slope", torch.ones(()), TypeError, "slope: expected a real number, got Tensor"),
    ("boundary", "circular", ValueError, "boundary: expected one of 'zero', 'periodic', .*got 'circular'"),
    ("boundary", 0, TypeError, "boundary: expected one of .*got int"),
    ("states_every", -1, ValueError, "states_every: expected an int >= 0, got -1"),
    ("states_every", 2.0, TypeError, "states_every: expected an int >= 0, got float"),
    ("states_every", True, TypeError, "states_every: expected an int >= 0, got bool"),
    ("states_every", None, TypeError, "states_every: expected an int >= 0, got NoneType"),
    ("backend", "cuda", ValueError, "backend: expected one of 'auto', 'reference', got 'cuda'"),
    ("backend", 1, TypeError, "backend: expected one of 'auto', 'reference', got int"),
]


def good_pde() -> dict[str, Any]:
    return {name: torch.rand(4, 2) for name in ("alpha", "beta", "sigma", "rho", "gamma")}


def _pde() -> list[Break]:
    broken: list[Break] = []
    for name in ("alpha", "beta", "sigma", "rho", "gamma"):
        expected = r"(\(4,\) or \(4, 2\)|\(3,\) or \(3, 2\))"  # alpha sets what the others must be
        broken += [
            (name, "0.5", TypeError, f"{name}: expected a (torch.Tensor|real number), got str"),
            (name, torch.rand(4, 2, 1), ValueError, rf"{name}: expected shape \(T,\) or \(T, C\), got"),
            (name, torch.rand(()), ValueError, rf"{name}: expected shape \(T,\) or \(T, C\), got shape \(\)"),
            (name, torch.rand(3), ValueError, rf"(beta|{name}): expected shape {expected}, got"),
            (
                name,
                torch.rand(4, 3),
                ValueError,
                r"\w+: expected shape \(4,\) or \(4, 3\), got shape \(4, 2\)",
            ),
            (
                name,
                torch.ones(4, dtype=INT),
                TypeError,
                f"{name}: expected a real floating dtype, got torch.int64",
            ),
            (name, torch.ones(4, dtype=C64), TypeError, f"{name}: expected a real floating dtype, got"),
            (
                name,
                torch.rand(4, dtype=F64),
                TypeError,
                r"(beta|\w+): expected the dtype of alpha, torch.float",
            ),
            (name, torch.rand(4, device="meta"), ValueError, r"\w+: expected the device of alpha, "),
        ]
        if name != "gamma":
            broken.append((name, 0.5, TypeError, f"{name}: expected a torch.Tensor, got float"))
    broken += [
        ("alpha", None, TypeError, "alpha: expected a torch.Tensor, got NoneType"),
        ("sigma", None, ValueError, "sigma: expected a tensor .both sigma and rho, or neither., got None"),
        ("rho", None, ValueError, "rho: expected a tensor .both sigma and rho, or neither., got None"),
        ("gamma", None, TypeError, "gamma: expected a real number, got NoneType"),
        ("gamma", True, TypeError, "gamma: expected a real number, got bool"),
        ("advection", "1", TypeError, "advection: expected a real number, got str"),
        ("advection", torch.ones(()), TypeError, "advection: expected a real number, got Tensor"),
        ("dt", 0.0, ValueError, "dt: expected a finite number > 0, got 0.0"),
        ("dt", -1, ValueError, "dt: expected a finite number > 0, got -1"),
        ("dt", None, TypeError, "dt: expected a real number, got NoneType"),
        ("dx", 0, ValueError, "dx: expected a finite number > 0, got 0"),
        ("dx", math.inf, ValueError, "dx: expected a finite number > 0, got inf"),
        ("dx", math.nan, ValueError, "dx: expected a finite number > 0, got nan"),
        ("dx", [1.0], TypeError, "dx: expected a real number, got list"),
    ]
    return broken


def good_symbol() -> dict[str, Any]:
    return {"taps": torch.randn(4, 2, 3, 3), "p": torch.randn(5, 2), "skip": torch.randn(4, 2)}


SYMBOL: list[Break] = [
    ("taps", 1.0, TypeError, "taps: expected a torch.Tensor, got float"),
    ("taps", torch.ones(4, 2, 3, 3, dtype=INT), TypeError, "taps: expected a floating or complex dtype, got"),
    (
        "taps",
        torch.randn(4, 2),
        ValueError,
        r"taps: expected shape \(T, C, \*K\) with 1 to 3 odd kernel sizes, got",
    ),
    ("taps", torch.randn(4, 2, 3, 2), ValueError, "taps: expected .*odd kernel sizes, got"),
    ("taps", torch.randn(4, 2, 3, 3, 3, 3), ValueError, "taps: expected .*1 to 3 odd kernel sizes, got"),
    ("p", 0.5, TypeError, "p: expected a torch.Tensor, got float"),
    ("p", torch.ones(2, dtype=INT), TypeError, "p: expected a real floating dtype, got torch.int64"),
    ("p", torch.ones(2, dtype=C64), TypeError, "p: expected a real floating dtype, got torch.complex64"),
    ("p", torch.randn(5, 3), ValueError, r"p: expected shape \(\.\.\., 2\), got shape \(5, 3\)"),
    ("p", torch.randn(()), ValueError, r"p: expected shape \(\.\.\., 2\), got shape \(\)"),
    ("skip", "1", TypeError, "skip: expected a real number, got str"),
    ("skip", None, TypeError, "skip: expected a real number, got NoneType"),
    ("skip", torch.randn(3), ValueError, r"skip: expected shape \(4,\) or \(4, 2\), got shape \(3,\)"),
]

FUNCTIONS: dict[Callable[..., Any], tuple[Callable[[], dict[str, Any]], list[Break]]] = {
    residual_chain: (good_chain, CHAIN),
    pde_taps: (good_pde, _pde()),
    stability: (good_pde, _pde()),
    symbol: (good_symbol, SYMBOL),
}
CASES = [(function, *case) for function, (_, cases) in FUNCTIONS.items() for case in cases]
IDS = [f"{function.__name__}-{argument}-{i}" for i, (function, argument, *_) in enumerate(CASES)]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_unbroken_arguments_pass(function: Callable[..., Any]) -> None:
    function(**FUNCTIONS[function][0]())


def test_every_argument_of_every_public_function_is_broken() -> None:
    public = {getattr(stencil, name) for name in stencil.__all__} - {stencil.Stability}
    assert public == set(FUNCTIONS)
    for function, (_, cases) in FUNCTIONS.items():
        assert {argument for argument, *_ in cases} == set(inspect.signature(function).parameters)


@pytest.mark.parametrize(("function", "argument", "value", "error", "words"), CASES, ids=IDS)
def test_broken_argument(
    function: Callable[..., Any], argument: str, value: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        function(**FUNCTIONS[function][0]() | {argument: value})
    message = str(caught.value)
    assert len(message) < 250
    assert "\n" not in message


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_reflect_refuses_short_axes_as_torch_does(dims: int) -> None:
    taps = torch.randn(2, 1, *(1,) * (dims - 1), 5)
    residual_chain(torch.randn(1, 1, *(1,) * (dims - 1), 3), taps, boundary="reflect")
    words = "x: expected space axes longer than 2 to reflect with kernel 5, got shape"
    with pytest.raises(ValueError, match=words):
        residual_chain(torch.randn(1, 1, *(1,) * (dims - 1), 2), taps, boundary="reflect")


def test_symbol_in_one_dimension_takes_any_shape_of_wave_numbers() -> None:
    assert symbol(torch.randn(4, 2, 3), torch.tensor(0.5)).shape == (4, 2)
    assert symbol(torch.randn(4, 2, 3), torch.randn(5, 6)).shape == (4, 2, 5, 6)


# --- what is accepted ---


@pytest.mark.parametrize("dtype", TAPS_DTYPES)
def test_dtypes(dtype: torch.dtype) -> None:
    half = dtype in (torch.bfloat16, torch.float16)
    others = {dtype, *TAPS_DTYPES[dtype]}
    x = torch.randn(2, 3, 8).to(dtype)
    activation = "none" if dtype.is_complex else "relu"
    for taps in others:
        for parameters in others:
            y, states = residual_chain(
                x,
                torch.randn(4, 1, 3).to(taps),
                skip=torch.randn(4).to(parameters),
                bias=torch.randn(4, 3).to(parameters),
                activation=activation,
                states_every=2,
            )
            assert y.dtype == states.dtype == dtype
    assert half == (torch.float32 in others and dtype != torch.float32 and not dtype.is_complex)


@pytest.mark.parametrize(
    "skip", [1, 1.0, np.float64(1.0), np.float32(1.0), torch.ones(4), torch.ones(4, 1), torch.ones(4, 3)]
)
def test_forms_of_skip_are_the_same_skip(skip: Any) -> None:
    x, taps = torch.randn(2, 3, 8, dtype=F64), torch.randn(4, 3, 3, dtype=F64)
    skip = skip.double() if isinstance(skip, Tensor) else skip
    torch.testing.assert_close(residual_chain(x, taps, skip=skip), residual_chain(x, taps))


def test_complex_numbers_as_skip() -> None:
    x = torch.randn(2, 1, 8, dtype=torch.complex128)
    taps = torch.randn(3, 1, 3, dtype=F64)
    found = residual_chain(x, taps, skip=0.5 - 2j, activation="none")
    weight = torch.full((3,), 0.5 - 2j, dtype=torch.complex128)
    assert torch.equal(found, residual_chain(x, taps.to(x.dtype), skip=weight, activation="none"))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["x", "taps", "skip", "bias"])
def test_nan_and_infinity_propagate(where: str, value: float) -> None:
    arguments = good_chain()
    arguments[where].view(-1)[4] = value
    y = residual_chain(**arguments, boundary="periodic")
    assert not y.isfinite().all()
    arguments[where].view(-1)[4] = 0.0
    assert residual_chain(**arguments, boundary="periodic").isfinite().all()


def test_an_infinite_skip_leaves_the_other_taps_alone() -> None:
    """0 * inf would make the neighbours NaN."""
    x = torch.tensor([[[1.0, 0.0, 0.0]]])
    y = residual_chain(x, torch.zeros(1, 1, 3), skip=torch.tensor([math.inf]))
    assert torch.equal(y.nan_to_num(nan=7.0), torch.tensor([[[torch.finfo(torch.float32).max, 7.0, 7.0]]]))


def test_conjugated_and_negated_views_are_resolved() -> None:
    x = torch.randn(2, 2, 8, dtype=torch.complex128)
    taps = torch.randn(3, 2, 3, dtype=torch.complex128)
    bias = torch.randn(3, 2, dtype=torch.complex128)
    views = [t.conj() for t in (x, taps, bias)]
    assert all(v.is_conj() for v in views)
    found = residual_chain(views[0], views[1], bias=views[2], activation="none")
    copies = [t.conj().resolve_conj() for t in (x, taps, bias)]
    assert torch.equal(found, residual_chain(copies[0], copies[1], bias=copies[2], activation="none"))

    negated = x.conj().imag
    assert negated.is_neg()
    real = taps.real.contiguous()
    assert torch.equal(residual_chain(negated, real), residual_chain(negated.resolve_neg(), real))


@pytest.mark.parametrize("states_every", [0, 2])
def test_parameters_may_have_any_strides(states_every: int) -> None:
    """One stencil for all layers without copies of it, columns, every other one of something larger."""
    layouts = {
        "expanded": (torch.randn(1, 2, 3, 3).expand(4, 2, 3, 3), torch.randn(1, 2).expand(4, 2)),
        "transposed": (torch.randn(4, 2, 3, 3).mT, torch.randn(2, 4).T),
        "strided": (torch.randn(8, 2, 3, 3)[::2], torch.randn(4, 4)[:, ::2]),
    }
    for taps, bias in layouts.values():
        results = []
        for given in ((taps, bias), (taps.contiguous(), bias.contiguous())):
            leaves = [tensor.detach().requires_grad_() for tensor in (torch.ones(2, 2, 5, 4), *given)]
            out = residual_chain(*leaves[:2], bias=leaves[2], activation="tanh", states_every=states_every)
            y = out[0] if states_every else out
            with torch.no_grad():
                plain = residual_chain(*leaves[:2], bias=leaves[2], activation="tanh")
            alone = torch.autograd.grad(y.sum(), leaves[:1], retain_graph=True)
            results.append((y, plain, *alone, *torch.autograd.grad(y.sum(), leaves)))
        assert all(map(torch.equal, *results))


def test_conjugated_gradients_are_resolved() -> None:
    x = torch.randn(2, 2, 8, dtype=torch.complex128, requires_grad=True)
    taps = torch.randn(3, 2, 3, dtype=torch.complex128, requires_grad=True)
    y = residual_chain(x, taps, activation="none")
    upstream = torch.randn_like(y).conj()
    assert upstream.is_conj()
    lazy = torch.autograd.grad(y, (x, taps), upstream, retain_graph=True)
    assert all(map(torch.equal, lazy, torch.autograd.grad(y, (x, taps), upstream.resolve_conj())))


def test_arguments_are_left_alone() -> None:
    arguments = good_chain()
    before = {name: value.clone() for name, value in arguments.items() if isinstance(value, Tensor)}
    leaves = [value.requires_grad_() for value in arguments.values() if isinstance(value, Tensor)]
    torch.autograd.grad(residual_chain(**arguments).sum(), leaves)
    for name, value in before.items():
        assert torch.equal(arguments[name], value)
