"""Closed forms of the free particle and of the oscillator, in continuous time and on a lattice of times."""

from __future__ import annotations

import cmath
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from paths import plain_action as plain
from qcore.paths import free_kernel, lattice_oscillator, mehler

SCHEMES = ["trapezoid", "midpoint", "midpoint-vanvleck", "endpoint", "takahashi-imada"]
BOTH = [
    (scheme, signature)
    for scheme in SCHEMES
    for signature in ("euclid", "lorentz")
    if (scheme, signature) != ("takahashi-imada", "lorentz")
]
OTHER_UNITS: dict[str, Any] = {"omega": 1.7, "mass": 1.3, "hbar": 0.7}


def close(found: Tensor | complex, expected: complex, tolerance: float = 1e-12) -> None:
    value = complex(found) if not isinstance(found, Tensor) else complex(found.item())
    assert abs(value - expected) <= tolerance * max(1.0, abs(expected)), (value, expected)


# --- continuous time ---


def test_known_values() -> None:
    close(free_kernel(0.5, -0.3, 1.0), 0.289691552761, 5e-13)
    close(free_kernel(1.0, 0.0, 1.0, signature="lorentz"), 0.382804917544483 - 0.112318022577219j)
    close(mehler(0.5, -0.3, 1.0), 0.259107581287009)
    close(mehler(0.5, -0.3, 1.0, signature="lorentz"), 0.38208135159057 - 0.20773251117127j)
    close(mehler(1.0, 0.0, 1.0, signature="lorentz"), 0.388850289634839 - 0.194767573486209j)
    found = mehler(-0.3, 0.4, 0.9, **OTHER_UNITS, signature="lorentz")
    close(found, 0.655867557488128 - 0.269686991837568j)


def test_the_textbook_form_of_mehlers_kernel() -> None:
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    y = torch.linspace(-1.5, 2, 8, dtype=torch.float64)
    m, w, h, t = 1.3, 1.7, 0.7, 0.8
    s, c = math.sinh(w * t), math.cosh(w * t)
    size = math.sqrt(m * w / (2 * math.pi * h * s))
    expected = size * torch.exp(-m * w / (2 * h * s) * ((x**2 + y**2) * c - 2 * x * y))
    torch.testing.assert_close(mehler(x, y, t, **OTHER_UNITS), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kernel", [free_kernel, mehler])
def test_imaginary_times_add_up(kernel: Any) -> None:
    z = torch.linspace(-12, 12, 481, dtype=torch.float64)
    first, second = kernel(z, -0.4, 0.3, mass=1.3, hbar=0.7), kernel(0.9, z, 1.1, mass=1.3, hbar=0.7)
    close((first * second).sum() * 0.05, float(kernel(0.9, -0.4, 1.4, mass=1.3, hbar=0.7)))


@pytest.mark.parametrize(("first", "second"), [(0.5, 0.7), (2.0, 1.9), (3.4, 3.5), (6.8, 5.0)])
@pytest.mark.parametrize("kernel", [free_kernel, mehler])
def test_real_times_add_up_beyond_caustics(kernel: Any, first: float, second: float) -> None:
    """The exponents are quadratic in the point between: one Fresnel integral, with its own phase."""
    x, y = 0.8, -0.5
    z = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    early, late = kernel(z, y, first, signature="lorentz"), kernel(x, z, second, signature="lorentz")
    ratio = (early * late) / (early * late)[1]  # exp(i (a z^2 + b z)) at -1, 0, 1
    up, down = cmath.phase(complex(ratio[2])), cmath.phase(complex(ratio[0]))
    if kernel is free_kernel:
        a, b = (1 / first + 1 / second) / 2, -y / first - x / second
    else:
        a = (1 / math.tan(first) + 1 / math.tan(second)) / 2
        b = -y / math.sin(first) - x / math.sin(second)
    assert math.remainder(a + b - up, 2 * math.pi) == pytest.approx(0, abs=1e-12)
    assert math.remainder(a - b - down, 2 * math.pi) == pytest.approx(0, abs=1e-12)
    fresnel = math.sqrt(math.pi / abs(a)) * cmath.exp(1j * math.pi / 4 * math.copysign(1, a))
    whole = complex((early * late)[1]) * fresnel * cmath.exp(-1j * b**2 / (4 * a))
    close(kernel(x, y, first + second, signature="lorentz"), whole, 1e-11)


def test_mehler_neither_cancels_nor_overflows() -> None:
    torch.testing.assert_close(
        mehler(0.5, -0.3, 0.2, omega=1e-6), free_kernel(0.5, -0.3, 0.2), rtol=1e-12, atol=0
    )
    far = mehler(0.5, -0.3, 1200.0)
    expected = math.exp(-600 - 0.17) / math.sqrt(math.pi)
    assert float(far) == pytest.approx(expected, rel=1e-12)


def test_batches_types_and_gradients() -> None:
    x = torch.rand(3, 1, dtype=torch.float64, requires_grad=True)
    y = torch.rand(4, dtype=torch.float64, requires_grad=True)
    t = torch.rand(2, 1, 1, dtype=torch.float64).add(0.5).requires_grad_()
    one = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    assert mehler(x, y, t, omega=one).shape == (2, 3, 4)
    for signature in ("euclid", "lorentz"):

        def free(*v: Tensor, signature: str = signature) -> Tensor:
            return free_kernel(v[0], v[1], v[2], mass=v[3], signature=signature)

        def bound(*v: Tensor, signature: str = signature) -> Tensor:
            return mehler(v[0], v[1], v[2], hbar=v[3], signature=signature)

        assert gradcheck(free, (x, y, t, one))
        assert gradcheck(bound, (x, y, t, one))
    assert mehler(x.float(), 0.5, 1.0).dtype == torch.float32
    assert mehler(x.float(), 0.5, 1.0, signature="lorentz").dtype == torch.complex64
    assert mehler(x.float(), y, 1.0).dtype == torch.float64
    slope = torch.func.vmap(torch.func.grad(lambda v: mehler(v, 0.3, 1.0)))(y.detach())
    (expected,) = torch.autograd.grad(mehler(y, 0.3, 1.0).sum(), y)
    torch.testing.assert_close(slope, expected)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"t": 0.0}, ValueError, "t: expected finite numbers > 0, got 0.0"),
        ({"t": torch.tensor([1.0, -2.0])}, ValueError, "t: expected finite numbers > 0, got -2.0"),
        ({"t": math.inf}, ValueError, "t: expected finite numbers > 0"),
        ({"t": "1"}, TypeError, "t: expected a real number, got str"),
        ({"x": torch.tensor(1j)}, TypeError, "x: expected a real number or a real floating"),
        ({"x": torch.tensor(1)}, TypeError, "x: expected a real number or a real floating"),
        ({"mass": 0}, ValueError, "mass: expected finite numbers > 0"),
        ({"hbar": -1}, ValueError, "hbar: expected finite numbers > 0"),
        ({"signature": "minkowski"}, ValueError, "signature: expected one of 'euclid', 'lorentz'"),
    ],
)
@pytest.mark.parametrize("kernel", [free_kernel, mehler])
def test_refusals(kernel: Any, change: dict[str, Any], error: type[Exception], message: str) -> None:
    given = {"x": 0.5, "y": 0.1, "t": 1.0} | change
    with pytest.raises(error, match=message.replace("(", r"\(")):
        kernel(**given)


def test_mehler_needs_a_frequency() -> None:
    with pytest.raises(ValueError, match="omega: expected finite numbers > 0"):
        mehler(0.5, 0.1, 1.0, omega=0.0)


# --- the lattice of times ---


def oscillator_action(scheme: str, signature: str, dt: float, omega: float, mass: float) -> Any:
    def v(x: Tensor) -> Tensor:
        return mass * omega**2 * x**2 / 2

    return lambda path: plain.action(path, v, dt=dt, mass=mass, scheme=scheme, signature=signature)


def factor(scheme: str, signature: str, dt: float, omega: float, steps: int) -> float:
    """Of "midpoint-vanvleck", which is no part of the action."""
    if scheme != "midpoint-vanvleck":
        return 1.0
    sign = -1.0 if signature == "euclid" else 1.0
    return math.sqrt(1 + sign * (omega * dt) ** 2 / 4) ** steps


KNOWN = [
    ("midpoint", 4, 0.378295211995809 - 0.187753929353132j),
    ("trapezoid", 4, 0.386149985099425 - 0.195521980284774j),
    ("midpoint", 8, 0.383169256343348 - 0.191482224725921j),
    ("trapezoid", 8, 0.388177013060111 - 0.194958486998415j),
]


@pytest.mark.parametrize(("scheme", "steps", "value"), KNOWN)
def test_known_lattice_propagators(scheme: str, steps: int, value: complex) -> None:
    lattice = lattice_oscillator(dt=1 / steps, scheme=scheme, signature="lorentz")
    close(lattice.propagator(1.0, 0.0, steps), value)


def test_known_lattice_propagators_in_other_units() -> None:
    def found(scheme: str, duration: float, steps: int) -> Tensor:
        lattice = lattice_oscillator(dt=duration / steps, **OTHER_UNITS, scheme=scheme, signature="lorentz")
        return lattice.propagator(-0.3, 0.4, steps)

    close(found("midpoint", 0.9, 20), 0.646439886646077 - 0.265578922715534j)
    close(found("midpoint", 4.0, 64), -0.711813434433444 - 0.593362417482491j)
    close(found("trapezoid", 4.0, 64), -0.791240301358768 - 0.619467479183241j)
    lattice = lattice_oscillator(dt=0.1, signature="lorentz")
    close(lattice.propagator(0.5, -0.3, 10), 0.38168589687647 - 0.20776836686432j)


@pytest.mark.parametrize("duration", [0.9, 2.3, 4.0, 6.8])
@pytest.mark.parametrize(("scheme", "signature"), BOTH)
def test_propagators_are_gaussian_sums_over_paths(scheme: str, signature: str, duration: float) -> None:
    x, y, steps = 0.4, -0.3, 13
    dt, (omega, mass, hbar) = duration / steps, OTHER_UNITS.values()
    whole = oscillator_action(scheme, signature, dt, omega, mass)

    def s(inner: Tensor) -> Tensor:
        return whole(torch.cat([inner.new_tensor([y]), inner, inner.new_tensor([x])]))

    expected = plain.step_prefactor(dt, mass, hbar, signature) ** steps
    expected *= plain.gaussian_integral(s, steps - 1, hbar, signature)
    expected *= factor(scheme, signature, dt, omega, steps)
    lattice = lattice_oscillator(dt=dt, **OTHER_UNITS, scheme=scheme, signature=signature)
    close(lattice.propagator(x, y, steps), expected, 1e-11)


@pytest.mark.parametrize(
    ("scheme", "signature", "boundary"),
    [
        (*both, boundary)
        for both in BOTH
        for boundary in ("periodic", "pinned", "open")
        if (both[0], boundary) != ("endpoint", "open")  # refused
    ],
)
def test_correlators_invert_the_action(scheme: str, signature: str, boundary: str) -> None:
    steps, dt, (omega, mass, hbar) = 9, 0.31, OTHER_UNITS.values()
    whole = oscillator_action(scheme, signature, dt, omega, mass)
    variables = {"periodic": steps, "pinned": steps - 1, "open": steps + 1}[boundary]

    def s(free: Tensor) -> Tensor:
        ends = free.new_zeros(1)
        paths = {"periodic": [free, free[:1]], "pinned": [ends, free, ends], "open": [free]}
        return whole(torch.cat(paths[boundary]))

    inverse = torch.linalg.inv(plain.hessian(s, variables)) * hbar
    lattice = lattice_oscillator(dt=dt, **OTHER_UNITS, scheme=scheme, signature=signature)
    sites = torch.arange(variables) + (1 if boundary == "pinned" else 0)
    found = lattice.correlator(sites[:, None], sites, steps, boundary=boundary)
    expected = inverse if signature == "euclid" else 1j * inverse
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12 * float(inverse.abs().max()))


@pytest.mark.parametrize(("scheme", "signature"), BOTH)
def test_correlators_of_an_endless_lattice(scheme: str, signature: str) -> None:
    """They solve (action matrix) G = hbar delta, and go as positive frequencies or decay."""
    dt, (omega, mass, hbar) = 0.31, OTHER_UNITS.values()
    whole = oscillator_action(scheme, signature, dt, omega, mass)
    row = plain.hessian(lambda z: whole(torch.cat([z.new_zeros(1), z, z.new_zeros(1)])), 5)[2, 1:4]
    lattice = lattice_oscillator(dt=dt, **OTHER_UNITS, scheme=scheme, signature=signature)
    found = lattice.correlator(torch.arange(6), 0, boundary="infinite")
    unit = hbar if signature == "euclid" else 1j * hbar
    around = torch.stack([found[1], found[0], found[1]])
    close((row * around).sum(), unit)
    close((row * found[1:4]).sum(), 0, 1e-13)
    if signature == "euclid":
        assert bool((found.diff() < 0).all())
    else:
        assert float((found[1] / found[0]).angle()) < 0


def test_known_correlators() -> None:
    for dt, slices, value in ((1.0, 200, 0.4472135955), (0.5, 200, 0.4850712501), (0.1, 100, 0.4994217039)):
        close(lattice_oscillator(dt=dt).correlator(0, 0, slices), value, 1e-10)
    for scheme, value in (("midpoint", 0.6546272563215634), ("trapezoid", 0.6523800866955108)):
        close(lattice_oscillator(dt=0.25, scheme=scheme).correlator(3, 3, 8), value)
    # Creutz and Freedman: (R^j + R^(N-j)) / (2 w sqrt(1 + a^2 w^2 / 4) (1 - R^N))
    a, w, n, j = 0.5, 1.3, 12, 5
    root = math.sqrt(1 + a**2 * w**2 / 4)
    r = 1 + a**2 * w**2 / 2 - a * w * root
    expected = (r**j + r ** (n - j)) / (2 * w * root * (1 - r**n))
    close(lattice_oscillator(dt=a, omega=w).correlator(2, 7, n), expected)


def test_long_lattices_do_not_overflow() -> None:
    lattice = lattice_oscillator(dt=0.5)
    ground = lattice.correlator(3, 0, boundary="infinite")
    for boundary in ("periodic", "pinned", "open"):
        close(lattice.correlator(5003, 5000, 10_000, boundary=boundary), float(ground))
    assert float(lattice.log_partition_function(10_000)) == pytest.approx(-5000 * float(lattice.angle))


def test_known_partition_functions() -> None:
    for scheme, value in (("midpoint", 0.450009441573825), ("trapezoid", 0.4269072194757819)):
        close(lattice_oscillator(dt=0.25, scheme=scheme).partition_function(8), value)
    lattice = lattice_oscillator(dt=2 * 0.7 / 4, **OTHER_UNITS, scheme="midpoint")  # beta = 2
    close(lattice.partition_function(4), 0.386004276252)


@pytest.mark.parametrize(("scheme", "signature"), BOTH)
def test_partition_functions_are_gaussian_sums_over_rings(scheme: str, signature: str) -> None:
    steps, dt, (omega, mass, hbar) = 11, 0.43, OTHER_UNITS.values()
    whole = oscillator_action(scheme, signature, dt, omega, mass)
    expected = plain.step_prefactor(dt, mass, hbar, signature) ** steps
    expected *= plain.gaussian_integral(lambda z: whole(torch.cat([z, z[:1]])), steps, hbar, signature)
    expected *= factor(scheme, signature, dt, omega, steps)
    lattice = lattice_oscillator(dt=dt, **OTHER_UNITS, scheme=scheme, signature=signature)
    close(lattice.partition_function(steps), expected)


def test_levels() -> None:
    for dt, value in ((1.0, 0.481211825060), (0.5, 0.494932923095), (0.1, 0.499791900693)):
        close(lattice_oscillator(dt=dt).levels(0), value)
    step = 0.1
    close(lattice_oscillator(dt=step, scheme="midpoint").levels(0), math.log(1 + step / 2) / step)
    levels = lattice_oscillator(dt=step).levels(torch.arange(4))
    torch.testing.assert_close(levels.diff(), 2 * levels[:1].expand(3), rtol=1e-13, atol=0)
    # takahashi-imada: w (1 - (a w / 2)^4 / 45 + ...)
    for step in (0.2, 0.1):
        off = 1 - 2 * float(lattice_oscillator(dt=step, scheme="takahashi-imada").levels(0))
        assert off * 45 / (step / 2) ** 4 == pytest.approx(1, abs=step**2)
    exact = lattice_oscillator(dt=0.3, signature="lorentz").levels(0)
    close(exact, math.asin(0.15) / 0.3)
    lossy = lattice_oscillator(dt=0.3, signature="lorentz", scheme="midpoint").levels(0)
    assert complex(lossy.item()).imag == pytest.approx(-math.log(1 + 0.15**2) / 2 / 0.3)


@pytest.mark.parametrize("signature", ["euclid", "lorentz"])
@pytest.mark.parametrize("scheme", ["trapezoid", "midpoint"])
def test_levels_are_those_of_a_step(scheme: str, signature: str) -> None:
    """The lowest state, exp(-M x^2 / 2 hbar), goes over into itself times its eigenvalue."""
    lattice = lattice_oscillator(dt=0.4, **OTHER_UNITS, scheme=scheme, signature=signature)
    x = torch.linspace(-9, 9, 3001, dtype=torch.float64)
    state = torch.exp(-lattice.strength * x**2 / (2 * 0.7))
    after = (lattice.propagator(torch.tensor([[0.0], [0.6]], dtype=torch.float64), x, 1) * state).sum(
        -1
    ) * 0.006
    level = complex(lattice.levels(0).item())
    expected = cmath.exp((-1 if signature == "euclid" else -1j) * level * 0.4 / 0.7)
    close(after[0], expected, 1e-10)
    close(after[1] / torch.exp(-lattice.strength * 0.36 / 1.4), expected, 1e-10)


def test_known_half_lines() -> None:
    expected = {
        "midpoint": (0.9641453188277076, 0.528202955264146),
        "endpoint": (0.9185486459455525, 0.5037838707260925),
        "trapezoid": (0.9651729320524289, 0.515767003551459),
    }
    for scheme, (stiffness, size) in expected.items():
        found = lattice_oscillator(dt=0.1, scheme=scheme).half_line(20)
        close(found.stiffness, stiffness)
        close(found.factor, size)
    limits = {"midpoint": 2.21, "endpoint": 1.86600704821125, "trapezoid": 2.24170704821125}
    for scheme, stiffness in limits.items():
        close(lattice_oscillator(dt=0.2, **OTHER_UNITS, scheme=scheme).half_line(2000).stiffness, stiffness)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_half_lines_are_gaussian_sums_over_paths(scheme: str) -> None:
    steps, dt, (omega, mass, hbar) = 7, 0.31, OTHER_UNITS.values()
    whole = oscillator_action(scheme, "euclid", dt, omega, mass)
    found = lattice_oscillator(dt=dt, **OTHER_UNITS, scheme=scheme).half_line(steps)
    for y in (0.0, 0.8):
        expected = plain.step_prefactor(dt, mass, hbar, "euclid") ** steps
        expected *= plain.gaussian_integral(
            lambda z, y=y: whole(torch.cat([z.new_tensor([y]), z])), steps, hbar, "euclid"
        )
        expected *= factor(scheme, "euclid", dt, omega, steps)
        close(found.factor * torch.exp(-found.stiffness * y**2 / (2 * hbar)), expected)


def test_half_lines_of_long_paths_have_a_logarithm() -> None:
    steps = 20_000
    for scheme in ("trapezoid", "endpoint"):
        lattice = lattice_oscillator(dt=0.5, scheme=scheme)
        longer = lattice.half_line(steps + 1).log_factor - lattice.half_line(steps).log_factor
        close(longer, -0.5 * lattice.levels(0), 1e-10)  # the ground state's decay in a step


@pytest.mark.parametrize("signature", ["euclid", "lorentz"])
def test_the_exact_lattice_is_the_continuum(signature: str) -> None:
    lattice = lattice_oscillator(dt=0.6, **OTHER_UNITS, scheme="exact", signature=signature)
    for steps in (1, 4, 15):
        expected = mehler(0.3, -0.8, 0.6 * steps, **OTHER_UNITS, signature=signature)
        close(lattice.propagator(0.3, -0.8, steps), expected)
    assert complex(lattice.levels(2)) == pytest.approx(2.5 * OTHER_UNITS["hbar"] * OTHER_UNITS["omega"])


def test_lattices_of_many_parameters_and_their_gradients() -> None:
    dt = torch.tensor([[0.2], [0.4]], dtype=torch.float64, requires_grad=True)
    omega = torch.tensor([0.7, 1.1, 1.9], dtype=torch.float64, requires_grad=True)
    lattice = lattice_oscillator(dt=dt, omega=omega)
    assert lattice.partition_function(5).shape == (2, 3)
    assert lattice.propagator(torch.zeros(4, 1, 1), 0.1, 5).shape == (4, 2, 3)
    one = lattice_oscillator(dt=0.4, omega=1.9).half_line(6)
    close(lattice.half_line(6).stiffness[1, 2], float(one.stiffness))
    for scheme, signature in BOTH:

        def results(dt: Tensor, omega: Tensor, scheme: str = scheme, signature: str = signature) -> Any:
            found = lattice_oscillator(dt=dt, omega=omega, scheme=scheme, signature=signature)
            values = [found.propagator(0.3, 0.1, 4), found.correlator(1, 3, 7), found.levels(1)]
            return (*values, found.partition_function(4))

        assert gradcheck(results, (dt, omega))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scheme": "simpson"}, ValueError, "scheme: expected one of 'trapezoid'"),
        ({"signature": 3}, TypeError, "signature: expected one of"),
        ({"dt": 0.0}, ValueError, "dt: expected finite numbers > 0"),
        ({"dt": 2.0, "scheme": "midpoint"}, ValueError, "dt: expected omega dt < 2"),
        ({"dt": 2.5, "signature": "lorentz"}, ValueError, "dt: expected omega dt < 2.*got omega dt = 2.5"),
        ({"signature": "lorentz", "scheme": "takahashi-imada"}, ValueError, "scheme: expected not"),
        ({"mass": "heavy"}, TypeError, "mass: expected a real number"),
    ],
)
def test_refusals_of_lattices(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        lattice_oscillator(**({"dt": 0.1} | change))


def test_large_steps_where_they_oscillate() -> None:
    lattice_oscillator(dt=5.0)
    lattice_oscillator(dt=5.0, scheme="midpoint", signature="lorentz")


def test_refusals_of_methods() -> None:
    lattice, real_time = lattice_oscillator(dt=0.1), lattice_oscillator(dt=0.1, signature="lorentz")
    for call, message in (
        (lambda: lattice.propagator(0.1, 0.2, 0), "steps: expected an int >= 1, got 0"),
        (lambda: lattice.correlator(0, 9, 9), "j: expected sites 0 to 8"),
        (lambda: lattice.correlator(-1, 0, 9, boundary="open"), "i: expected sites 0 to 9"),
        (lambda: lattice.correlator(0, 0, 9, boundary="infinite"), "slices: expected None"),
        (lambda: lattice.correlator(0, 0, 9, boundary="free"), "boundary: expected one of"),
        (lambda: real_time.half_line(3), 'signature: expected "euclid" for half_line'),
        (lambda: real_time.log_partition_function(3), 'signature: expected "euclid"'),
        (lambda: lattice.levels(-1), "n: expected quantum numbers >= 0"),
        (
            lambda: lattice_oscillator(dt=0.1, scheme="endpoint").correlator(0, 0, 9, boundary="open"),
            'boundary: expected not "open"',
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    for call, message in (
        (lambda: lattice.levels(0.5), "n: expected an int or an integer tensor, got float"),
        (lambda: lattice.correlator(torch.tensor(0.0), 0, 9), "i: expected an int or an integer tensor"),
        (lambda: lattice.correlator(0, 0), "slices: expected an int"),
        (lambda: lattice.propagator(0.1, 0.2, 1.5), "steps: expected an int"),
    ):
        with pytest.raises(TypeError, match=message):
            call()
