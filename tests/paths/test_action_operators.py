"""The operators of actions, path networks and fields under everything torch asks of an operator."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck

from qcore import paths
from qcore._ops import paths_action, paths_action_composite, paths_phi4
from qcore.paths import Polynomial, Table, action, action_from_acceleration, phi4_action

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Torchinductor does not support:UserWarning"),
]

QUARTIC = [0.1, -0.2, 0.5, 0.05, 0.3]
SCHEMES = tuple(paths_action_composite.SCHEMES)


def double(*shape: int, scale: float = 0.5) -> torch.Tensor:
    return (scale * torch.randn(*shape, dtype=torch.float64)).requires_grad_()


NAMES = (
    "is_table",
    "start",
    "spacing",
    "scheme",
    "periodic",
    "lam",
    "parameters",
    "dt",
    "hold_ends",
    "backend",
)


def settings(scheme: str = "trapezoid", **changes: Any) -> tuple[Any, ...]:
    lam = 0.002 if scheme == "midpoint-vanvleck" else 0.0
    plain = False, 0.0, 1.0, scheme, False, lam, "path", 0.0, False, "auto"
    return tuple((dict(zip(NAMES, plain, strict=True)) | changes).values())


def factors() -> torch.Tensor:
    return torch.tensor([[1.3, 0.4, -0.2], [0.1, -0.7, 0.3]], dtype=torch.float64, requires_grad=True)


CASES: dict[str, Any] = {
    "one potential": lambda: ((double(3, 5), None, None, double(5)), {}),
    "a potential each": lambda: ((double(3, 5), None, None, double(3, 4)), {}),
    "periodic": lambda: ((double(3, 6), None, None, double(5)), {"periodic": True}),
    "velocity": lambda: ((double(3, 4), double(3), None, double(5)), {"parameters": "velocity", "dt": 0.3}),
    "pinned": lambda: (
        (double(3, 3), double(3), double(3), double(5)),
        {"parameters": "acceleration", "dt": 0.3},
    ),
    "table": lambda: (
        (double(3, 5), None, None, double(6, 4)),
        {"is_table": True, "start": -1.0, "spacing": 0.37},
    ),
}


@pytest.mark.parametrize(
    ("scheme", "case"),
    [pair for pair in product(SCHEMES, CASES) if pair != ("midpoint-vanvleck", "table")],  # which is refused
)
def test_derivatives_of_the_action(scheme: str, case: str) -> None:
    tensors, changes = CASES[case]()
    given = [*tensors, factors()]
    present = [i for i, t in enumerate(given) if t is not None]

    def call(*values: torch.Tensor) -> torch.Tensor:
        filled: list[Any] = [None] * 5
        for i, value in zip(present, values, strict=True):
            filled[i] = value
        out: torch.Tensor = paths_action.action.call(*filled, *settings(scheme, **changes))
        return out

    inputs = [given[i] for i in present]
    assert gradcheck(call, inputs, fast_mode=True, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(call, inputs, fast_mode=True)


def test_batched_forward_gradients() -> None:
    tensors, changes = CASES["one potential"]()
    gradcheck(
        lambda x, c: paths_action.action.call(x, None, None, c, factors().detach(), *settings(**changes)),
        (tensors[0], tensors[3]),
        check_forward_ad=True,
        check_batched_forward_grad=True,
    )


@pytest.mark.parametrize("parameters", ["velocity", "acceleration"])
@pytest.mark.parametrize("pinned", [False, True])
def test_paths_of_networks_and_their_transposes(parameters: str, pinned: bool) -> None:
    w, ini, fin = double(3, 6), double(3), double(3) if pinned else None
    ends = [ini, fin] if pinned else [ini]

    def make(w: torch.Tensor, *ends: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = paths_action.integrate.call(
            w, ends[0], ends[1] if pinned else None, parameters, 0.3
        )
        return x

    assert gradcheck(make, (w, *ends), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(make, (w, *ends))
    g = double(3, 8 if pinned else 7)
    found = paths_action.integrate_adjoint.call(g, parameters, 0.3, pinned)
    there = (make(w, *ends) * g).sum()
    back = sum((a * b).sum() for a, b in zip((w, *ends), found, strict=False))
    torch.testing.assert_close(there, back, rtol=1e-13, atol=1e-13)
    assert gradcheck(
        lambda g: paths_action.integrate_adjoint.call(g, parameters, 0.3, pinned), (g,), check_forward_ad=True
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_mass_and_step_have_derivatives(scheme: str) -> None:
    x = double(3, 5)
    constants = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.1, 1.3)]

    def call(x: torch.Tensor, dt: Any, mass: Any) -> torch.Tensor:
        s: torch.Tensor = action(x, QUARTIC, dt=dt, mass=mass, scheme=scheme, hbar=0.7)
        return s

    torch.testing.assert_close(call(x, *constants), call(x, 0.1, 1.3), rtol=1e-12, atol=1e-12)
    assert gradcheck(call, (x, *constants), check_forward_ad=True)
    assert gradgradcheck(call, (x, *constants))


def test_steps_of_networks_have_derivatives() -> None:
    w, dt = double(3, 4), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda w, dt: paths.from_acceleration(w, 0.1, dt=dt), (w, dt))
    assert gradcheck(lambda w, dt: action_from_acceleration(w, 0.1, QUARTIC, dt=dt), (w, dt))


def test_numbers_of_potentials_have_derivatives() -> None:
    x, values = double(3, 5), double(7)
    assert gradcheck(lambda v: action(x.detach(), Table(v, -1.0, 0.3), dt=0.1), (values,))
    weight = double(2)
    assert gradcheck(
        lambda x, w: action(x, lambda y: w[0] * y**2 + w[1] * y**4, dt=0.1, scheme="takahashi-imada"),
        (x, weight),
    )
    coefficients = double(3, 4)
    assert gradgradcheck(lambda x, c: action(x, Polynomial(c), dt=0.1), (x, coefficients))


def test_held_ends_are_constants_to_every_order() -> None:
    x = double(2, 5)
    ends = [0, 4]

    def s(x: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = action(x, QUARTIC, dt=0.1, boundary="pinned").sum()
        return total

    gradient = torch.func.grad(s)(x.detach())
    hessian = torch.func.hessian(s)(x.detach())
    inner = torch.func.hessian(lambda y: action(y, QUARTIC, dt=0.1).sum())(x.detach())
    assert not gradient[:, ends].any()
    assert not hessian[:, ends].any()
    assert not hessian[..., ends].any()
    torch.testing.assert_close(hessian[:, 1:4][..., 1:4], inner[:, 1:4][..., 1:4])


# --- torch.func ---


@pytest.mark.parametrize("which", ["x", "coefficients", "both", "factors"])
@pytest.mark.parametrize("case", ["one potential", "a potential each", "table", "pinned"])
def test_vmap(which: str, case: str) -> None:
    tensors, changes = CASES[case]()
    given = [None if t is None else t.detach() for t in (*tensors, factors())]
    batched = {"x": [0], "coefficients": [3], "both": [0, 3], "factors": [4]}[which]
    in_dims = tuple(0 if i in batched else None for i in range(5))
    many = [torch.stack((t, 0.5 * t, -t)) if d == 0 else t for t, d in zip(given, in_dims, strict=True)]

    def call(*values: Any) -> Any:
        return paths_action.action.call(*values, *settings(**changes))

    def gradients(*values: Any) -> Any:
        return torch.func.grad(lambda *v: call(*v).sum(), (0, 3))(*values)

    for function in (call, gradients):
        got = torch.func.vmap(function, in_dims)(*many)
        apart = [
            function(*(t[i] if d == 0 else t for t, d in zip(many, in_dims, strict=True))) for i in range(3)
        ]
        wanted = (
            torch.stack(apart)
            if isinstance(got, torch.Tensor)
            else tuple(map(torch.stack, zip(*apart, strict=True)))
        )
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_transforms_of_the_public_functions() -> None:
    x = double(4, 6).detach()

    def s(x: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = action(x, QUARTIC, dt=0.1)
        return value

    each = torch.func.vmap(torch.func.grad(s))(x)
    torch.testing.assert_close(each, torch.func.grad(lambda x: s(x).sum())(x))
    v = double(6).detach()
    pushed = torch.func.jvp(s, (x[0],), (v,))[1]
    torch.testing.assert_close(pushed, (each[0] * v).sum())
    product = torch.func.jvp(torch.func.grad(s), (x[0],), (v,))[1]
    torch.testing.assert_close(product, torch.func.hessian(s)(x[0]) @ v)
    by_c = torch.func.vmap(torch.func.grad(lambda c: action(x[0], c, dt=0.1)))(double(3, 4).detach())
    assert by_c.shape == (3, 4)


def test_forward_mode_on_the_bare_operator_is_not_silent() -> None:
    x, c = double(2, 5).detach(), double(5).detach()
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        out = torch.ops.qcore.paths_action(dual, None, None, c, factors().detach(), *settings())
        assert forward_ad.unpack_dual(out).tangent is not None


# --- opcheck, compile ---


@pytest.mark.parametrize("case", CASES)
def test_opcheck(case: str) -> None:
    tensors, changes = CASES[case]()
    arguments = (*tensors, factors(), *settings(**changes))
    torch.library.opcheck(torch.ops.qcore.paths_action.default, arguments)
    if case not in ("one potential", "pinned"):
        return
    grad = double(2, 3)
    torch.library.opcheck(torch.ops.qcore.paths_action_gradient.default, (grad, *arguments, True))


def test_opcheck_of_networks_and_fields() -> None:
    torch.library.opcheck(
        torch.ops.qcore.paths_integrate.default, (double(3, 4), double(3), double(3), "velocity", 0.1)
    )
    torch.library.opcheck(
        torch.ops.qcore.paths_integrate_adjoint.default, (double(3, 6), "acceleration", 0.1, True)
    )
    row = torch.rand(1, 4, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(torch.ops.qcore.paths_phi4.default, (double(2, 3, 4), row, True, False, "auto"))


@pytest.mark.slow
def test_compiled_whole() -> None:
    x, c, w = double(3, 9), double(5), double(3, 8)
    phi = double(2, 4, 4)

    def total(x: torch.Tensor, c: torch.Tensor, w: torch.Tensor, phi: torch.Tensor) -> torch.Tensor:
        s = action(x, Polynomial(c), dt=0.1, scheme="chin4")
        t = action_from_acceleration(w, 0.1, Polynomial(c), dt=0.1)
        return s.sum() + t.sum() + phi4_action(phi, mass2=-1.0, coupling=0.3).sum()

    inputs = x, c, w, phi
    compiled = torch.compile(total, fullgraph=True)(*inputs)
    expected = total(*inputs)
    torch.testing.assert_close(compiled, expected)
    torch.testing.assert_close(torch.autograd.grad(compiled, inputs), torch.autograd.grad(expected, inputs))


# --- refusals of the operators ---


GOOD: dict[str, Any] = {
    "x": torch.zeros(3, 5),
    "x_ini": None,
    "x_fin": None,
    "coefficients": torch.zeros(5, dtype=torch.float64),
    "factors": torch.ones(1, 3, dtype=torch.float64),
    **dict(
        zip(
            [
                "is_table",
                "start",
                "spacing",
                "scheme",
                "periodic",
                "lam",
                "parameters",
                "dt",
                "hold_ends",
                "backend",
            ],
            settings(),
            strict=True,
        )
    ),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(3, 5, dtype=torch.float16)}, "x: expected float32 or float64"),
        ({"x": torch.zeros(5)}, r"x: expected shape \(B, M\)"),
        ({"x": torch.zeros(3, 0)}, "at least one bead"),
        ({"x_ini": torch.zeros(3)}, "x_ini: expected None"),
        ({"parameters": "velocity"}, "x_ini: expected a tensor"),
        ({"parameters": "velocity", "x_ini": torch.zeros(2)}, "x_ini: expected shape"),
        ({"parameters": "velocity", "x_ini": torch.zeros(3).double()}, "x_ini: expected torch.float32"),
        ({"parameters": "velocity", "x_ini": torch.zeros(3), "hold_ends": True}, "hold_ends: expected False"),
        ({"parameters": "momentum"}, "parameters: expected one of"),
        ({"coefficients": torch.zeros(5)}, "coefficients: expected float64"),
        ({"coefficients": torch.zeros(17).double()}, "coefficients: expected shape"),
        ({"coefficients": torch.zeros(2, 5).double()}, "coefficients: expected shape"),
        ({"is_table": True}, "coefficients: expected cells of shape"),
        ({"is_table": True, "coefficients": torch.zeros(2, 4).double(), "spacing": 0.0}, "spacing: expected"),
        (
            {"is_table": True, "coefficients": torch.zeros(2, 4).double(), "scheme": "midpoint-vanvleck"},
            "scheme: expected another one",
        ),
        ({"factors": torch.ones(1, 3)}, "factors: expected float64"),
        ({"factors": torch.ones(4, 3).double()}, "factors: expected shape"),
        ({"scheme": "simpson"}, "scheme: expected one of"),
        ({"scheme": "chin4", "x": torch.zeros(3, 4)}, "x: expected an even number of steps"),
        ({"backend": "fast"}, "backend: expected one of"),
    ],
)
def test_arguments_broken_once(change: dict[str, Any], message: str) -> None:
    arguments = (GOOD | change).values()
    with pytest.raises((TypeError, ValueError), match=message):
        torch.ops.qcore.paths_action(*arguments)
    with (
        torch._subclasses.fake_tensor.FakeTensorMode(allow_non_fake_inputs=True),
        pytest.raises((TypeError, ValueError), match=message),
    ):
        torch.ops.qcore.paths_action(*arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: o.paths_integrate(torch.zeros(3), torch.zeros(3), None, "velocity", 0.1), r"\(B, N\)"),
        (lambda o: o.paths_integrate(torch.zeros(3, 2), torch.zeros(2), None, "velocity", 0.1), "x_ini"),
        (
            lambda o: o.paths_integrate(torch.zeros(3, 2), torch.zeros(3), torch.zeros(1), "velocity", 0.1),
            "x_fin",
        ),
        (lambda o: o.paths_integrate(torch.zeros(3, 2), torch.zeros(3), None, "path", 0.1), "parameters"),
        (lambda o: o.paths_integrate_adjoint(torch.zeros(3, 1), "velocity", 0.1, True), "M >= 2"),
        (
            lambda o: o.paths_phi4(torch.zeros(3, 2), torch.zeros(1, 4).double(), True, True, "auto"),
            r"\(B, T, L\)",
        ),
        (
            lambda o: o.paths_phi4(torch.zeros(1, 3, 2), torch.zeros(1, 3).double(), True, True, "auto"),
            "factors",
        ),
        (
            lambda o: o.paths_phi4(torch.zeros(1, 3, 2), torch.zeros(1, 4).double(), True, True, "gpu"),
            "backend",
        ),
    ],
)
def test_networks_and_fields_broken_once(call: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call(torch.ops.qcore)


# --- fields ---


@pytest.mark.parametrize("midpoint", [False, True])
@pytest.mark.parametrize("periodic", [False, True])
def test_derivatives_of_fields(midpoint: bool, periodic: bool) -> None:
    row = torch.rand(2, 4, dtype=torch.float64, requires_grad=True)
    own = midpoint, periodic, "auto"
    for shape in ((2, 3, 4), (1, 1, 1), (1, 2, 2)):
        phi = double(*shape)
        call = lambda phi, row: paths_phi4.phi4.call(phi, row, *own)  # noqa: E731
        assert gradcheck(call, (phi, row), fast_mode=True, check_forward_ad=True, check_batched_grad=True)
        assert gradgradcheck(call, (phi, row), fast_mode=True)
    many = double(3, 2, 3, 4).detach()
    got = torch.func.vmap(lambda p: paths_phi4.phi4.call(p, row.detach(), *own))(many)
    torch.testing.assert_close(got, torch.stack([paths_phi4.phi4.call(p, row.detach(), *own) for p in many]))
    force = torch.func.vmap(torch.func.grad(lambda p: paths_phi4.phi4.call(p, row.detach(), *own).sum()))
    torch.testing.assert_close(
        force(many),
        torch.stack(
            [torch.func.grad(lambda p: paths_phi4.phi4.call(p, row.detach(), *own).sum())(p) for p in many]
        ),
    )
