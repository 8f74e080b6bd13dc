"""What the compiled module refuses: with the name of the argument, and before anything is written."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from qcore import _core

NONE, RELU = 0, 1
SETTINGS = (1.0, NONE, 0.01, 0, 0, 0, 0)


def arguments(dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """A right forward call, with states and checkpoints."""
    compute = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
    return {
        "x": torch.randn(2, 3, 6, dtype=dtype),
        "taps": torch.randn(4, 3, 3, dtype=compute) / 4,
        "bias": torch.randn(4, 3, dtype=compute),
        "y": torch.empty(2, 3, 6, dtype=dtype),
        "states": torch.empty(2, 2, 3, 6, dtype=dtype),
        "checkpoints": torch.empty(3, 2, 3, 6, dtype=compute),
    }


def forward(a: dict[str, Any]) -> None:
    _core.stencil_residual_chain(*a.values(), 1.0, NONE, 0.01, 0, 2, 1, 0)


def backward_arguments(dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    a = arguments(dtype)
    forward(a)
    return {
        "grad_y": torch.randn_like(a["y"]),
        "grad_states": torch.randn_like(a["states"]),
        "x": a["x"],
        "checkpoints": a["checkpoints"],
        "taps": a["taps"],
        "bias": a["bias"],
        "grad_x": torch.empty_like(a["x"]),
        "grad_taps": torch.empty_like(a["taps"]),
        "grad_bias": torch.empty_like(a["bias"]),
    }


def backward(a: dict[str, Any]) -> None:
    _core.stencil_residual_chain_backward(*a.values(), 1.0, NONE, 0.01, 0, 2, 1, 0)


CALLS: list[Any] = [
    pytest.param(make, call, name, id=f"{call.__name__}-{name}")
    for make, call in ((arguments, forward), (backward_arguments, backward))
    for name in make()
]
OUTPUTS = ("y", "states", "grad_x", "grad_taps", "grad_bias")
every_argument = pytest.mark.parametrize(("make", "call", "name"), CALLS)
every_output = pytest.mark.parametrize(
    ("make", "call", "name"), [c for c in CALLS if c.values[2] in OUTPUTS or c.id == "forward-checkpoints"]
)
Make, Call = Callable[..., dict[str, Any]], Callable[[dict[str, Any]], None]


def refused(
    make: Make, call: Call, name: str, value: Any, match: str, error: Any = (TypeError, ValueError)
) -> None:
    """`value` for argument `name` raises a message that begins with the name, and no output is written."""
    a = make()
    outputs = [a[o] for o in OUTPUTS if o in a]
    for o in outputs:
        o.fill_(7.0)
    a[name] = value(a[name]) if callable(value) else value
    with pytest.raises(error, match=rf"^{name}: .*{match}"):
        call(a)
    for o in outputs:
        assert (o == 7.0).all()


# --- what is refused ------------------------------------------------------------------------------


@every_argument
@pytest.mark.parametrize(
    "value", [1.0, "text", [1.0, 2.0], object(), torch.float32, {}], ids=lambda v: type(v).__name__
)
def test_what_is_no_array(make: Make, call: Call, name: str, value: Any) -> None:
    refused(
        make,
        call,
        name,
        lambda _: value,
        rf"expected a tensor or array .*got {type(value).__name__}|got torch.dtype",
        TypeError,
    )


@every_argument
def test_none_where_an_array_is_needed(make: Make, call: Call, name: str) -> None:
    optional = {"bias", "grad_states", "grad_bias"} if call is backward else {"bias"}
    if name in optional:
        a = make()
        a[name] = None
        if name == "bias" and call is backward:
            a["grad_bias"] = None
        call(a)
        return
    refused(make, call, name, lambda _: None, "got None")


@every_argument
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.int8], ids=str)
def test_integers_and_bools(make: Make, call: Call, name: str, dtype: torch.dtype) -> None:
    refused(
        make,
        call,
        name,
        lambda t: torch.zeros(t.shape, dtype=dtype),
        "expected dtype float32.*got",
        TypeError,
    )
    refused(
        make,
        call,
        name,
        lambda t: np.zeros(t.shape, str(dtype)[6:]),
        "expected dtype float32.*got",
        TypeError,
    )


@every_argument
def test_dtypes_that_do_not_fit(make: Make, call: Call, name: str) -> None:
    if name == "x":
        for wrong in (torch.float64, torch.complex128):
            a = make()
            a["x"] = a["x"].to(wrong)
            with pytest.raises(ValueError, match=r"^(taps|x): .*(float64|complex128)"):
                call(a)
        return
    for wrong in (torch.float64, torch.float16, torch.bfloat16, torch.complex64):
        refused(
            make,
            call,
            name,
            lambda t, wrong=wrong: t.to(wrong),
            r"expected .*float32.*got .*" + str(wrong)[6:],
        )


@every_argument
def test_dtypes_of_numpy_that_nobody_has(make: Make, call: Call, name: str) -> None:
    for odd in (">f4", "g", "U1", "O", "M8[s]", [("a", "f4"), ("b", "f4")]):
        if odd == "g" and np.dtype("g").itemsize == 8:
            continue
        refused(make, call, name, lambda t, odd=odd: np.zeros(t.shape, odd), "expected")


@every_argument
def test_wrong_shapes(make: Make, call: Call, name: str) -> None:
    """One element too many along an axis, one axis too many, one too few."""
    a = make()
    for axis in range(a[name].ndim):
        wrong = list(a[name].shape)
        wrong[axis] += 1
        if name == "taps" and axis == 0:  # another number of steps: then the rest does not fit
            expected = r"^(bias|states|checkpoints|grad_taps|grad_states): "
        elif name in ("x", "taps"):
            expected = r"^\w+: "
        else:
            expected = rf"^{name}: expected .*\(.*\).*got .*\("
        b = make()
        b[name] = torch.zeros(wrong, dtype=a[name].dtype)
        with pytest.raises(ValueError, match=expected):
            call(b)
    if name != "x":  # a fourth axis of x is a second space axis: then the taps don't fit
        refused(make, call, name, lambda t: t[None], r"\(", ValueError)
    if name not in ("x", "taps"):
        refused(make, call, name, lambda t: t[0], r"\(", ValueError)


@every_argument
@pytest.mark.parametrize("axes", [0, 1, 6, 8, 9, 20, 32])
def test_number_of_axes(make: Make, call: Call, name: str, axes: int) -> None:
    match = rf"expected .*axes.*got {axes}" if axes > 8 else "expected"
    refused(make, call, name, torch.zeros([1] * axes), match, ValueError)
    refused(make, call, name, np.zeros([1] * axes, np.float32), match, ValueError)


@every_argument
def test_meta_and_fake_tensors(make: Make, call: Call, name: str) -> None:
    refused(make, call, name, lambda t: torch.empty(t.shape, device="meta"), "expected")
    shape = make()[name].shape
    with FakeTensorMode():
        fake = torch.empty(shape)
    with warnings.catch_warnings():  # torch may warn that the data pointer of a fake tensor was asked for
        warnings.simplefilter("ignore")
        refused(make, call, name, fake, "expected .*memory")


@every_argument
def test_sparse_tensors(make: Make, call: Call, name: str) -> None:
    refused(make, call, name, lambda t: t.to_sparse(), "expected a dense tensor", TypeError)


def complex_arguments() -> dict[str, Any]:
    return arguments(torch.complex64)


def complex_backward_arguments() -> dict[str, Any]:
    return backward_arguments(torch.complex64)


@pytest.mark.parametrize(
    ("make", "call", "name"),
    [
        pytest.param(make, call, name, id=f"{call.__name__}-{name}")
        for make, call in ((complex_arguments, forward), (complex_backward_arguments, backward))
        for name in make()
    ],
)
def test_conjugated_and_negated_views(make: Make, call: Call, name: str) -> None:
    """DLPack would drop the flag and hand over values of the wrong sign."""
    call(make())
    refused(make, call, name, lambda t: t.conj(), "plain memory.*conjugated", ValueError)
    negated = torch.randn(*make()[name].shape, dtype=torch.complex64).conj().imag
    assert negated.is_neg()
    refused(make, call, name, negated, "plain memory.*negated", ValueError)
    refused(make, call, name, lambda t: torch._neg_view(t), "plain memory.*negated", ValueError)


@every_output
def test_outputs_must_be_contiguous(make: Make, call: Call, name: str) -> None:
    def spread(t: torch.Tensor) -> torch.Tensor:
        return torch.empty(*t.shape[:-1], 2 * t.shape[-1])[..., ::2]

    layouts: list[Callable[[torch.Tensor], Any]] = [
        spread,
        lambda t: torch.empty(t.shape[::-1]).permute(*range(t.ndim - 1, -1, -1)),
        lambda t: torch.empty([1] * t.ndim).expand(t.shape),
        lambda t: torch.empty([*t.shape[:-1], 1]).expand(t.shape),
        lambda t: np.empty(t.shape, np.float32)[::-1],
        lambda t: np.asfortranarray(np.empty(t.shape, np.float32)),
    ]
    for layout in layouts:
        refused(make, call, name, layout, "expected a contiguous", ValueError)


@every_output
def test_outputs_must_not_be_read_only(make: Make, call: Call, name: str) -> None:
    def frozen(t: torch.Tensor) -> np.ndarray[Any, Any]:
        copy = t.numpy().copy()
        copy.flags.writeable = False
        return copy

    refused(make, call, name, frozen, "read-only", ValueError)


@pytest.mark.parametrize(
    ("make", "call"), [(arguments, forward), (backward_arguments, backward)], ids=["forward", "backward"]
)
def test_outputs_must_not_overlap_anything(make: Make, call: Call) -> None:
    """Every output against every other argument: the same memory, or one element in common at either end."""
    names = list(make())
    outputs = [n for n in names if n in OUTPUTS or (call is forward and n == "checkpoints")]
    for output, other in itertools.product(outputs, names):
        if output == other:
            continue
        for shared in (1, 0):
            a = make()
            n, m = a[output].numel(), a[other].numel()
            for first, second in (
                ((0, n), (n - shared, n - shared + m)),
                ((m - shared, m - shared + n), (0, m)),
            ):
                memory = torch.zeros(n + m)
                memory[slice(*second)] = a[other].flatten()
                a[output] = memory[slice(*first)].view(a[output].shape)
                a[other] = memory[slice(*second)].view(a[other].shape)
                if shared:
                    with pytest.raises(
                        ValueError, match=rf"^({output}|{other}): .*overlaps ({output}|{other})"
                    ):
                        call(a)
                else:
                    call(a)  # neighbours in memory are fine


def test_inputs_may_overlap_each_other() -> None:
    memory = torch.randn(200)
    x, taps, bias = memory[:36].view(2, 3, 6), memory[10:46].view(4, 3, 3), memory[5:17].view(4, 3)
    a = {**arguments(), "x": x, "taps": taps, "bias": bias}
    forward(a)
    b = {**a, "x": x.clone(), "taps": taps.clone(), "bias": bias.clone(), "y": torch.empty_like(x)}
    forward(b)
    assert torch.equal(a["y"], b["y"])


@every_argument
def test_failure_leaves_the_module_usable(make: Make, call: Call, name: str) -> None:
    a = make()
    call(a)
    refused(make, call, name, object(), "expected a tensor or array")
    call(make())


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("position", "name", "wrong"),
    [
        (1, "activation", [-1, 5, 100]),
        (3, "boundary", [-1, 4]),
        (4, "states_every", [-1]),
        (5, "checkpoint_every", [-1]),
        (6, "backend", [-1, 2, 7]),
    ],
)
def test_options_out_of_range(position: int, name: str, wrong: list[int]) -> None:
    x = torch.ones(1, 1, 4)
    for value in wrong:
        options = list(SETTINGS)
        options[position] = value
        with pytest.raises(ValueError, match=rf"^{name}: expected .*got.*{value}"):
            _core.stencil_residual_chain(
                x, torch.ones(1, 1, 1), None, torch.empty(1, 1, 4), None, None, *options
            )


@pytest.mark.parametrize("slope", [-0.1, -math.inf, math.nan])
def test_slope_below_zero(slope: float) -> None:
    with pytest.raises(ValueError, match=r"^slope: expected a number >= 0, got"):
        _core.stencil_residual_chain(
            torch.ones(1, 1, 4),
            torch.ones(1, 1, 1),
            None,
            torch.empty(1, 1, 4),
            None,
            None,
            1.0,
            2,
            slope,
            0,
            0,
            0,
            0,
        )


def test_activation_of_a_complex_field() -> None:
    a = arguments(torch.complex64)
    for activation in range(1, 5):
        with pytest.raises(ValueError, match=r"^activation: expected none for a complex field"):
            _core.stencil_residual_chain(*a.values(), 1.0, activation, 0.01, 0, 2, 1, 0)


def test_bias_of_a_complex_field_needs_complex_taps() -> None:
    a = arguments(torch.complex64)
    a["taps"] = a["taps"].real.contiguous()
    for bias in (a["bias"], a["bias"].real.contiguous()):
        with pytest.raises(ValueError, match=r"^(taps|bias): expected"):
            forward({**a, "bias": bias})


@pytest.mark.parametrize("size", [0, 2, 4, 6, 8, 9, 11])
def test_kernel_sizes(size: int) -> None:
    for shape in ((1, 1, size), (1, 1, 3, size), (1, 1, size, 3), (1, 1, 3, 3, size), (1, 1, size, 1, 1)):
        space = [12] * (len(shape) - 2)
        x, y, taps = torch.ones(1, 1, *space), torch.empty(1, 1, *space), torch.ones(shape)
        with pytest.raises(ValueError, match=r"^taps: expected kernel sizes that are odd, from 1 to 7, got"):
            _core.stencil_residual_chain(x, taps, None, y, None, None, *SETTINGS)


@pytest.mark.parametrize(("n", "k"), [(1, 3), (2, 5), (1, 7), (3, 7)])
def test_reflect_needs_room(n: int, k: int) -> None:
    for space, kernel in (
        ((n,), (k,)),
        ((9, n), (1, k)),
        ((n, 9), (k, 1)),
        ((n, 9, 9), (k, 3, 1)),
        ((9, 9, n), (1, 1, k)),
    ):
        x = torch.ones(1, 1, *space)
        taps = torch.ones(1, 1, *kernel)
        with pytest.raises(ValueError, match=r"^x: expected .*longer than the kernel's radius.*reflect"):
            _core.stencil_residual_chain(
                x, taps, None, torch.empty_like(x), None, None, 1.0, 0, 0.01, 2, 0, 0, 0
            )


def test_wrong_number_and_type_of_arguments() -> None:
    a = list(arguments().values())
    with pytest.raises(TypeError):
        _core.stencil_residual_chain(*a)
    with pytest.raises(TypeError):
        _core.stencil_residual_chain(*a, "1", 0, 0.01, 0, 2, 1, 0)
    with pytest.raises(TypeError):
        _core.stencil_residual_chain(*a, 1.0, 0.5, 0.01, 0, 2, 1, 0)


@pytest.mark.parametrize("backend", [0, 1])
def test_ordinary_call_still_works(backend: int) -> None:
    """The calls that all refusals above start from."""
    a = arguments()
    _core.stencil_residual_chain(*a.values(), 1.0, RELU, 0.01, 0, 2, 1, backend)
    assert torch.equal(a["y"], a["states"][-1])
