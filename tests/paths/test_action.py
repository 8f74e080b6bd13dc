"""Actions of given paths: the theory's fixtures, Gaussian algebra, schemes, parts, and other potentials."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from qcore import paths
from qcore.paths import Table, action, action_from_acceleration, action_from_velocity

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch.func.hessian

# The deterministic path of the theory, section 3: N = 4, V = k x^2 / 2 + g x^4.
DT, MASS, K, G = 0.5, 2.0, 3.0, 0.25
W_FREE = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
W = torch.tensor([1.0, -2.0, 0.5, 1.4], dtype=torch.float64)
X = torch.tensor([0.1, 0.6, 0.1, -0.15, 0.3], dtype=torch.float64)
V = [0.0, 0.0, K / 2, 0.0, G]
BACKENDS = ["auto", "reference"]
EVERY = ["trapezoid", "endpoint", "startpoint", "midpoint", "midpoint-vanvleck", "takahashi-imada", "chin4"]

QUARTIC = [0.0, 0.0, 0.5, 0.0, 1.0]


def quartic(x: torch.Tensor) -> torch.Tensor:
    return x.square() / 2 + x.pow(4)


def random_paths(
    batch: int, beads: int, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(batch, beads, generator=g, dtype=torch.float64).to(dtype) * 0.7


def beads_for(scheme: str, boundary: str, beads: int) -> int:
    """`beads`, or one more where chin4 needs an even number of steps."""
    return beads + (scheme == "chin4" and (beads - (boundary != "periodic")) % 2)


# --- the theory's fixtures ---


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("potential", "scheme", "signature", "expected"),
    [
        ([0.0], "trapezoid", "euclid", 1.53),
        ([0.0], "midpoint", "lorentz", 1.53),
        ([0.0, 0.0, K / 2], "midpoint", "lorentz", 1.3415625),
        (V, "midpoint", "lorentz", 1.33780693359375),
        (V, "trapezoid", "lorentz", 1.18133671875),
        (V, "midpoint", "euclid", 1.72219306640625),
        (V, "trapezoid", "euclid", 1.87866328125),
    ],
)
def test_the_path_of_the_theory(
    potential: list[float], scheme: str, signature: str, expected: float, backend: str
) -> None:
    settings: dict[str, Any] = {
        "dt": DT,
        "mass": MASS,
        "scheme": scheme,
        "signature": signature,
        "backend": backend,
    }
    for found in (
        action(X, potential, **settings),
        action_from_acceleration(W, 0.1, potential, **settings),
        action_from_acceleration(W_FREE, 0.1, potential, pinned_to=0.3, **settings),
        action_from_velocity(W.cumsum(0), 0.1, potential, **settings),
    ):
        assert found.dtype == torch.float64
        assert found.shape == ()
        assert float(found) == pytest.approx(expected, abs=1e-13)


def test_gradients_on_the_path_of_the_theory() -> None:
    settings: dict[str, Any] = {"dt": DT, "mass": MASS, "scheme": "midpoint", "signature": "lorentz"}
    by_x = torch.func.grad(lambda x: action(x, V, **settings))(X)
    by_velocity = torch.func.grad(lambda w: action_from_velocity(w, 0.1, V, **settings))(W.cumsum(0))
    by_w = torch.func.grad(lambda w: action_from_acceleration(w, 0.1, V, **settings))(W)
    pinned = torch.func.grad(lambda w: action_from_acceleration(w, 0.1, V, pinned_to=0.3, **settings))(W_FREE)
    for found, expected in [
        (by_x, [-2.27321875, 3.4535625, -1.25446484375, -2.8376015625, 1.74364453125]),
        (by_velocity, [0.5525703125, -1.1742109375, -0.546978515625, 0.871822265625]),
        (by_w, [-0.296796875, -0.8493671875, 0.32484375, 0.871822265625]),
        (pinned, [-3.7840859375, -3.464833984375, -1.41880078125]),
    ]:
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


# --- against plain torch ---


def plain_action(
    x: torch.Tensor, scheme: str, periodic: bool, dt: float, mass: float, hbar: float
) -> torch.Tensor:
    """S_E of the quartic potential, written out."""
    y = torch.cat((x, x[:, :1]), 1) if periodic else x
    here, there = y[:, :-1], y[:, 1:]
    kinetic = (mass / (2 * dt)) * (there - here).square().sum(1)
    mid = (here + there) / 2
    force = y + 4 * y**3
    ti = quartic(y) + dt**2 / (24 * mass) * force**2
    chin = quartic(y) + dt**2 / (12 * mass) * force**2
    factor = 1 - dt**2 / (4 * mass) * (1 + 12 * mid**2)
    on_steps = {
        "trapezoid": (quartic(here) + quartic(there)) / 2,
        "endpoint": quartic(there),
        "startpoint": quartic(here),
        "midpoint": quartic(mid),
        "midpoint-vanvleck": quartic(mid) - hbar / (2 * dt) * factor.log(),
        "takahashi-imada": (ti[:, :-1] + ti[:, 1:]) / 2,
    }
    if scheme == "chin4":
        ends, middles = quartic(y[:, 0::2]), chin[:, 1::2]
        potential = (ends[:, :-1] + ends[:, 1:]).sum(1) / 3 + 4 / 3 * middles.sum(1)
    else:
        potential = on_steps[scheme].sum(1)
    return kinetic + dt * potential


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("boundary", ["open", "pinned", "periodic"])
@pytest.mark.parametrize("scheme", EVERY)
@pytest.mark.parametrize("beads", [2, 3, 40, 1100])
def test_every_scheme_against_plain_torch(beads: int, scheme: str, boundary: str, backend: str) -> None:
    periodic = boundary == "periodic"
    x = (0.5 * random_paths(9, beads_for(scheme, boundary, beads))).requires_grad_()
    constants = {"dt": 0.1, "mass": 1.3, "hbar": 0.7}
    expected = plain_action(x, scheme, periodic, **constants)
    found = action(x, QUARTIC, scheme=scheme, boundary=boundary, backend=backend, **constants)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    weights = torch.linspace(-1, 1, 9, dtype=torch.float64)
    wanted, got = (torch.autograd.grad(s, x, weights)[0] for s in (expected, found))
    if boundary == "pinned":
        wanted = wanted.clone()
        wanted[:, [0, -1]] = 0
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("scheme", EVERY)
def test_float32_paths_are_summed_in_float64(scheme: str) -> None:
    x = random_paths(3, 20001, dtype=torch.float32) * 0.2
    settings: dict[str, Any] = {"dt": 0.05, "scheme": scheme}
    found = action(x, QUARTIC, **settings)
    torch.testing.assert_close(found, action(x.double(), QUARTIC, **settings), rtol=3e-7, atol=0)
    assert found.dtype == torch.float64
    gradient = torch.func.grad(lambda p: action(p, QUARTIC, **settings).sum())
    assert gradient(x).dtype == torch.float32
    torch.testing.assert_close(gradient(x).double(), gradient(x.double()), rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("scheme", EVERY)
@pytest.mark.parametrize("periodic", [False, True])
def test_paths_from_parameters_need_no_path(scheme: str, periodic: bool) -> None:
    boundary = "periodic" if periodic else "open"
    w = random_paths(11, beads_for(scheme, boundary, 35) - 1, seed=1) * 0.3
    ini = random_paths(1, 11, seed=2)[0]
    settings: dict[str, Any] = {"dt": 0.1, "mass": 1.3, "scheme": scheme, "boundary": boundary}
    for fused, make in (
        (action_from_velocity, paths.from_velocity),
        (action_from_acceleration, paths.from_acceleration),
    ):

        def both(w: torch.Tensor, ini: torch.Tensor, fused: Any = fused, make: Any = make) -> Any:
            return fused(w, ini, QUARTIC, **settings), action(make(w, ini, dt=0.1), QUARTIC, **settings)

        torch.testing.assert_close(*both(w, ini), rtol=1e-11, atol=0)
        gradients = [
            torch.func.grad(lambda w, ini, i=i: both(w, ini)[i].sum(), (0, 1))(w, ini) for i in (0, 1)
        ]
        torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_pinned_parameters_have_gradients_to_both_ends() -> None:
    w = random_paths(5, 12) * 0.3
    ends = [random_paths(1, 5, seed=s)[0].requires_grad_() for s in (1, 2)]
    x = paths.from_velocity(w, ends[0], dt=0.2, pinned_to=ends[1])
    expected = torch.autograd.grad(action(x, QUARTIC, dt=0.2).sum(), ends)
    found = torch.autograd.grad(
        action_from_velocity(w, ends[0], QUARTIC, dt=0.2, pinned_to=ends[1]).sum(), ends
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


# --- Gaussian algebra as an oracle (sections 4 and 5) ---


def kernel_by_hessian(
    scheme: str, n: int, x_ini: float, x_fin: float, time: float, mass: float, k: float, hbar: float
) -> complex:
    """The propagator of V = k x^2 / 2 with n steps in real time, by the Hessian of the action."""
    dt = time / n

    def s(inner: torch.Tensor) -> torch.Tensor:
        ends = [torch.tensor([e], dtype=torch.float64) for e in (x_ini, x_fin)]
        x = torch.cat((ends[0], inner, ends[1]))
        return action(x, [0.0, 0.0, k / 2], dt=dt, mass=mass, scheme=scheme, signature="lorentz")

    zero = torch.zeros(n - 1, dtype=torch.float64)
    hessian = torch.func.hessian(s)(zero).numpy()
    force = torch.func.grad(s)(zero).numpy()
    stationary = float(s(zero)) - 0.5 * force @ np.linalg.solve(hessian, force)
    values = np.linalg.eigvalsh(hessian)
    phase = -0.25j * np.pi * n  # sqrt(1/i) of every step's normalisation
    amplitude = (mass / (2 * np.pi * hbar * dt)) ** (n / 2) * np.exp(phase)
    fresnel = np.prod(np.sqrt(2 * np.pi * hbar / np.abs(values)) * np.exp(0.25j * np.pi * np.sign(values)))
    return complex(amplitude * fresnel * np.exp(1j * stationary / hbar))


@pytest.mark.parametrize(
    ("scheme", "n", "arguments", "expected"),
    [
        ("midpoint", 4, (0.0, 1.0, 1.0, 1.0, 1.0, 1.0), 0.378295211995809 - 0.187753929353132j),
        ("trapezoid", 4, (0.0, 1.0, 1.0, 1.0, 1.0, 1.0), 0.386149985099425 - 0.195521980284774j),
        ("midpoint", 8, (0.0, 1.0, 1.0, 1.0, 1.0, 1.0), 0.383169256343348 - 0.191482224725921j),
        ("trapezoid", 8, (0.0, 1.0, 1.0, 1.0, 1.0, 1.0), 0.388177013060111 - 0.194958486998415j),
        ("midpoint", 64, (0.4, -0.3, 4.0, 1.3, 1.3 * 1.7**2, 0.7), -0.711813434433444 - 0.593362417482491j),
        ("trapezoid", 64, (0.4, -0.3, 4.0, 1.3, 1.3 * 1.7**2, 0.7), -0.791240301358768 - 0.619467479183241j),
        ("trapezoid", 7, (0.0, 1.0, 1.0, 1.0, 0.0, 1.0), 0.382804917544483 - 0.112318022577219j),
        ("midpoint", 2, (0.0, 1.0, 1.0, 1.0, 0.0, 1.0), 0.382804917544483 - 0.112318022577219j),
    ],
)
def test_oscillator_propagators_past_caustics(
    scheme: str, n: int, arguments: tuple[float, ...], expected: complex
) -> None:
    assert kernel_by_hessian(scheme, n, *arguments) == pytest.approx(expected, abs=1e-12)


def test_the_free_particle_is_exact_for_uneven_steps() -> None:
    dt = torch.tensor([0.3, 0.05, 0.4, 0.25], dtype=torch.float64)

    def s(inner: torch.Tensor) -> torch.Tensor:
        one = torch.ones(1, dtype=torch.float64)
        return action(torch.cat((0 * one, inner, one)), [0.0], dt=dt)

    zero = torch.zeros(3, dtype=torch.float64)
    hessian, force = torch.func.hessian(s)(zero), torch.func.grad(s)(zero)
    least = s(zero) - force @ torch.linalg.solve(hessian, force) / 2
    norm = (1 / (2 * torch.pi * dt)).sqrt().prod() * (2 * torch.pi) ** 1.5 / torch.linalg.det(hessian).sqrt()
    expected = (2 * torch.pi) ** -0.5 * np.exp(-0.5)  # T = 1, from 0 to 1
    assert float(norm * (-least).exp()) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("scheme", ["trapezoid", "endpoint", "startpoint", "midpoint"])
@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_steps_of_their_own_may_all_be_the_same(scheme: str, boundary: str) -> None:
    x = random_paths(4, 7)
    steps = torch.full((7 - (boundary == "open"),), 0.2, dtype=torch.float64)
    settings: dict[str, Any] = {"scheme": scheme, "boundary": boundary, "mass": 1.3, "signature": "lorentz"}
    found, expected = (action(x, QUARTIC, dt=dt, parts=True, **settings) for dt in (steps, 0.2))
    torch.testing.assert_close(tuple(found), tuple(expected), rtol=1e-13, atol=0)


# --- parts, signatures, complex actions ---


@pytest.mark.parametrize("scheme", EVERY)
@pytest.mark.parametrize("signature", ["euclid", "lorentz"])
def test_parts_make_up_the_action(scheme: str, signature: str) -> None:
    x = random_paths(5, 9)
    settings: dict[str, Any] = {"dt": 0.1, "mass": 1.3, "scheme": scheme, "signature": signature}
    kinetic, potential = action(x, QUARTIC, parts=True, **settings)
    whole = action(x, QUARTIC, **settings)
    torch.testing.assert_close(kinetic, 6.5 * x.diff(dim=1).square().sum(1), rtol=1e-13, atol=0)
    together = kinetic + potential if signature == "euclid" else kinetic - potential
    torch.testing.assert_close(whole, together, rtol=1e-13, atol=1e-13)


def test_real_time_is_imaginary_time_turned() -> None:
    """i S(dt) = -S_E(i dt): by the terms' powers of dt."""
    x, dt, mass = random_paths(5, 9), 0.1, 1.3
    force = x + 4 * x**3
    inner = torch.ones(9, dtype=torch.float64)
    inner[[0, -1]] = 0.5
    turned = quartic(x) - dt**2 / (24 * mass) * force**2
    expected = mass / (2 * dt) * x.diff(dim=1).square().sum(1) - dt * (inner * turned).sum(1)
    found = action(x, QUARTIC, dt=dt, mass=mass, scheme="takahashi-imada", signature="lorentz")
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def test_the_van_vleck_factor_makes_real_steps_unitary() -> None:
    """Section 5: nu = 1 with the factor; without it a step of the oscillator loses norm."""
    dt, hbar, omega = 0.3, 0.7, 1.7
    x = random_paths(6, 2)
    settings: dict[str, Any] = {"dt": dt, "hbar": hbar, "signature": "lorentz"}
    plain = action(x, [0, 0, omega**2 / 2], scheme="midpoint", **settings)
    whole = action(x, [0, 0, omega**2 / 2], scheme="midpoint-vanvleck", **settings)
    assert whole.dtype == torch.complex128
    ratio = (1j * (whole - plain) / hbar).exp()
    expected = np.sqrt(1 + (omega * dt / 2) ** 2)
    torch.testing.assert_close(ratio, torch.full_like(ratio, expected), rtol=1e-13, atol=0)


def test_the_van_vleck_factor_is_nan_where_its_square_is_negative() -> None:
    x = torch.zeros(3, dtype=torch.float64)
    assert action(x, [0, 0, 2.01], dt=1.0, scheme="midpoint-vanvleck").isnan()
    assert action(x, [0, 0, 1.99], dt=1.0, scheme="midpoint-vanvleck").isfinite()


# --- other potentials, several coordinates ---


@pytest.mark.parametrize("scheme", EVERY)
@pytest.mark.parametrize("boundary", ["open", "pinned", "periodic"])
def test_functions_tables_and_coefficients_agree(scheme: str, boundary: str) -> None:
    x = random_paths(6, beads_for(scheme, boundary, 17)).clamp(-2, 2) * 0.4
    x = x.requires_grad_()
    cubic = [0.3, -0.2, 0.5, 0.1]  # which tables have exactly
    settings: dict[str, Any] = {"dt": 0.1, "scheme": scheme, "boundary": boundary, "mass": 1.3}
    expected = action(x, cubic, **settings)
    gradient = torch.autograd.grad(expected.sum(), x)[0]
    points = -2 + 0.25 * torch.arange(17, dtype=torch.float64)
    others: list[Any] = [lambda y: 0.3 - 0.2 * y + 0.5 * y**2 + 0.1 * y**3]
    if scheme != "midpoint-vanvleck":
        others.append(Table(others[0](points), -2.0, 0.25))
    for potential in others:
        found = action(x, potential, **settings)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(torch.autograd.grad(found.sum(), x)[0], gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scheme", [s for s in EVERY if s != "midpoint-vanvleck"])
def test_several_coordinates(scheme: str) -> None:
    x = random_paths(12, 9).reshape(4, 3, 9).movedim(1, 2)  # (4, 9, 3)
    settings: dict[str, Any] = {"dt": 0.1, "scheme": scheme}
    apart = sum(action(x[..., d], QUARTIC, **settings) for d in range(3))
    torch.testing.assert_close(action(x, QUARTIC, components=True, **settings), apart, rtol=1e-13, atol=0)
    radial = action(x, lambda y: y.square().sum(-1), components=True, **settings)
    torch.testing.assert_close(
        radial, action(x, [0, 0, 1.0], components=True, **settings), rtol=1e-12, atol=0
    )


def test_coefficients_of_every_path() -> None:
    x, c = random_paths(7, 12), random_paths(7, 5, seed=3)
    together = action(x, c, dt=0.1)
    apart = torch.stack([action(x[i], c[i], dt=0.1) for i in range(7)])
    torch.testing.assert_close(together, apart, rtol=1e-14, atol=0)
    twice = action(torch.stack((x, -x), 2), c, dt=0.1, components=True)
    torch.testing.assert_close(twice, together + action(-x, c, dt=0.1), rtol=1e-13, atol=1e-13)


def test_shapes_and_empty_batches() -> None:
    x = random_paths(6, 8)
    assert action(x.reshape(2, 3, 8), QUARTIC, dt=0.1).shape == (2, 3)
    assert action(x[0], QUARTIC, dt=0.1).shape == ()
    assert action(x[:0], QUARTIC, dt=0.1).shape == (0,)
    assert float(action(x[0, :1], QUARTIC, dt=0.1)) == 0.0  # no step, no action
    transposed = x.T.contiguous().T
    assert torch.equal(action(transposed, QUARTIC, dt=0.1), action(x, QUARTIC, dt=0.1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("scheme", EVERY)
def test_what_is_not_finite_shows(scheme: str, value: float) -> None:
    for bead in (0, 5, 20):
        x = random_paths(2, 21, dtype=torch.float32)
        x[1, bead] = value
        found = action(x, QUARTIC, dt=0.1, scheme=scheme)
        assert found[0].isfinite()
        assert not found[1].isfinite()


# --- refusals ---


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": [1.0]}, TypeError, "x: expected a torch.Tensor"),
        ({"x": torch.zeros(3, dtype=torch.int64)}, TypeError, "x: expected float32 or float64"),
        ({"x": torch.zeros(3, 0)}, ValueError, "at least one bead"),
        ({"x": torch.zeros(())}, ValueError, "at least one bead"),
        ({"components": True}, ValueError, "at least one bead"),
        ({"potential": "x"}, TypeError, "potential"),
        ({"potential": torch.zeros(4, 3)}, ValueError, "a row for each path"),
        ({"potential": lambda y: y.sum()}, ValueError, "potential: expected values of shape"),
        ({"potential": lambda y: 1.0}, TypeError, r"potential: expected a torch\.Tensor"),
        ({"potential": lambda y: 1j * y}, TypeError, "potential: expected real values"),
        ({"components": 1}, TypeError, "components: expected a bool"),
        ({"parts": None}, TypeError, "parts: expected a bool"),
        ({"dt": torch.tensor(-0.1)}, ValueError, "dt: expected finite numbers > 0"),
        ({"dt": torch.tensor([0.1, 0.1, 0.0, 0.1])}, ValueError, "dt: expected finite numbers > 0, got 0"),
        ({"mass": torch.tensor(float("nan"))}, ValueError, "mass: expected finite numbers > 0"),
        ({"hbar": torch.tensor(-1.0)}, ValueError, "hbar: expected finite numbers > 0"),
        ({"dt": 0.0}, ValueError, "dt: expected a finite number > 0"),
        ({"dt": torch.ones(3)}, ValueError, r"dt: expected a number or shape \(4,\)"),
        ({"dt": torch.ones(4), "scheme": "takahashi-imada"}, ValueError, "dt: expected one step"),
        ({"mass": -1.0}, ValueError, "mass: expected a finite number > 0"),
        ({"mass": torch.ones(2)}, ValueError, "mass: expected a real number"),
        ({"hbar": 0}, ValueError, "hbar"),
        ({"scheme": "simpson"}, ValueError, "scheme: expected one of"),
        ({"signature": "real"}, ValueError, "signature: expected one of"),
        ({"boundary": "closed"}, ValueError, "boundary: expected one of"),
        ({"backend": "cuda"}, ValueError, "backend: expected one of"),
        ({"scheme": "chin4", "x": torch.zeros(4)}, ValueError, "an even number of steps"),
        (
            {"scheme": "chin4", "x": torch.zeros(4), "potential": lambda y: y},
            ValueError,
            "an even number of steps",
        ),
        (
            {"scheme": "midpoint-vanvleck", "potential": Table(torch.zeros(5), 0.0, 1.0)},
            ValueError,
            "whose V'' jumps",
        ),
        (
            {"scheme": "midpoint-vanvleck", "x": torch.zeros(5, 2), "components": True},
            ValueError,
            "several components",
        ),
    ],
)
def test_refusals(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"x": torch.zeros(5), "potential": QUARTIC, "dt": 0.1} | changes
    with pytest.raises(error, match=message):
        action(arguments.pop("x"), arguments.pop("potential"), **arguments)


def test_refusals_of_parameters() -> None:
    w = torch.zeros(3, 4)
    with pytest.raises(ValueError, match="pinned_to: expected None for a periodic path"):
        action_from_velocity(w, 0.0, QUARTIC, dt=0.1, boundary="periodic", pinned_to=1.0)
    with pytest.raises(ValueError, match="boundary"):
        action_from_velocity(w, 0.0, QUARTIC, dt=0.1, boundary="pinned")
    with pytest.raises(ValueError, match=r"x_ini: expected what broadcasts to \(3,\)"):
        action_from_acceleration(w, torch.zeros(4), QUARTIC, dt=0.1)
    with pytest.raises(TypeError, match="velocity: expected float32 or float64"):
        action_from_velocity(w.long(), 0.0, QUARTIC, dt=0.1)
