"""The operators of one space axis under everything torch asks of an operator."""

import pytest
import torch
from torch.autograd import forward_ad

from qcore._ops import schrodinger, schrodinger_composite

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Torchinductor does not support:UserWarning"),
]

STEPS = 3


def arguments(slices=1, systems=1, batch=2, n=5, dtype=torch.complex128, seed=0):
    g = torch.Generator().manual_seed(seed)
    psi = torch.randn(batch, n, dtype=dtype, generator=g, requires_grad=True)
    potential = torch.randn(slices, systems, n, dtype=torch.float64, generator=g, requires_grad=True)
    kappa = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    values = [-0.3j, 0.1 - 0.2j] if dtype.is_complex else [-0.3, -0.1]
    c = torch.tensor(values, dtype=torch.complex128, requires_grad=True)
    return psi, potential, kappa, c


def settings(rule="cayley", order=2, boundary="dirichlet", reversible=True, backend="auto"):
    return rule, order, boundary, "float64", backend, reversible


def state(own):
    return lambda *a: schrodinger.evolve.call(*a, STEPS, *own)


def frames(own, every=2):
    return lambda *a: schrodinger.evolve_frames.call(*a, STEPS, every, *own)


WAYS = [("cayley", True), ("cayley", False), ("euler", False)]


@pytest.mark.parametrize(("rule", "reversible"), WAYS)
@pytest.mark.parametrize("boundary", ["dirichlet", "periodic"])
@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize(("slices", "systems"), [(1, 1), (1, 2), (STEPS, 1), (STEPS, 2)])
def test_gradients_of_the_state_and_of_frames(rule, reversible, boundary, order, slices, systems):
    inputs, own = arguments(slices, systems), settings(rule, order, boundary, reversible)
    dense, _ = schrodinger_composite.evolve(*inputs, STEPS, 0, rule, order, boundary)
    torch.testing.assert_close(state(own)(*inputs), dense, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(state(own), inputs, fast_mode=True)
    assert torch.autograd.gradcheck(frames(own), inputs, fast_mode=True)


@pytest.mark.parametrize("reversible", [True, False])
@pytest.mark.parametrize("function", [state, frames])
def test_second_derivatives_forward_mode_and_batched_gradients(function, reversible):
    inputs, own = arguments(systems=2, n=3), settings(reversible=reversible)
    assert torch.autograd.gradgradcheck(function(own), inputs)
    torch.autograd.gradcheck(
        function(own), inputs, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )


def test_real_states():
    inputs = arguments(dtype=torch.float64)
    own = settings("euler", reversible=False)
    assert torch.autograd.gradcheck(lambda p, v, k: state(own)(p, v, k, inputs[3].detach()), inputs[:3])


@pytest.mark.parametrize("slices", [1, STEPS])
def test_opcheck(slices):
    inputs = arguments(slices, 2)
    torch.library.opcheck(torch.ops.qcore.schrodinger_evolve.default, (*inputs, STEPS, *settings()))
    torch.library.opcheck(torch.ops.qcore.schrodinger_frames.default, (*inputs, STEPS, 2, *settings()))


@pytest.mark.parametrize("own_potential", [False, True])
@pytest.mark.parametrize("systems", [1, 2])
def test_vmap_is_a_loop(own_potential, systems):
    psi, potential, kappa, c = (t.detach() for t in arguments(STEPS, systems))
    many = torch.stack([psi, 2 * psi.conj(), psi.roll(1, -1)])
    potentials = torch.stack([potential, -potential, potential**2])
    in_dims = (0, 0 if own_potential else None)
    given = potentials if own_potential else potential
    for function in (state, frames):
        call = function(settings())
        got = torch.func.vmap(lambda p, v, call=call: call(p, v, kappa, c), in_dims)(many, given)
        expected = [call(many[i], given[i] if own_potential else given, kappa, c) for i in range(3)]
        if function is state:
            got, expected = (got,), [(e,) for e in expected]
        for g, e in zip(got, zip(*expected, strict=True), strict=True):
            assert torch.equal(g, torch.stack(e))


def test_vmap_over_the_constants():
    psi, potential, _, c = (t.detach() for t in arguments())
    kappas = torch.tensor([0.3, 0.9], dtype=torch.float64)
    got = torch.func.vmap(lambda k: state(settings())(psi, potential, k, c))(kappas)
    assert torch.equal(got, torch.stack([state(settings())(psi, potential, k, c) for k in kappas]))


def test_gradients_of_each_system_by_vmap():
    psi, potential, kappa, c = (t.detach() for t in arguments(batch=3))

    def loss(p, v):
        return state(settings())(p.unsqueeze(0), v, kappa, c).abs().pow(4).sum()

    got = torch.func.vmap(torch.func.grad(loss, (0, 1)), (0, None))(psi, potential)
    for i in range(3):
        for mine, alone in zip(got, torch.func.grad(loss, (0, 1))(psi[i], potential), strict=True):
            torch.testing.assert_close(mine[i], alone)


@pytest.mark.slow
def test_compiled_whole():
    inputs = arguments()
    for call in (state(settings()), lambda *a: frames(settings())(*a)[1]):
        compiled = torch.compile(call, fullgraph=True)
        loss, expected = compiled(*inputs).abs().sum(), call(*inputs).abs().sum()
        torch.testing.assert_close(loss, expected)
        for got, wanted in zip(
            torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs), strict=True
        ):
            torch.testing.assert_close(got, wanted)


def test_the_bare_adjoint_refuses_a_derivative():
    psi, potential, kappa, c = arguments()
    bare = torch.ops.qcore.schrodinger_adjoint
    with pytest.raises(NotImplementedError, match="no derivative of its own"):
        bare(psi, psi, None, potential, kappa, c, STEPS, 1, *settings())


def test_forward_mode_on_the_bare_operator_is_not_silent():
    psi, potential, kappa, c = (t.detach() for t in arguments())
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(psi, torch.ones_like(psi))
        out = torch.ops.qcore.schrodinger_evolve(dual, potential, kappa, c, STEPS, *settings())
        tangent = forward_ad.unpack_dual(out).tangent
    torch.testing.assert_close(tangent, state(settings())(torch.ones_like(psi), potential, kappa, c))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"psi": torch.zeros(2, 5, dtype=torch.float16)}, "psi: expected one of"),
        ({"psi": torch.zeros(5, dtype=torch.complex128)}, r"psi: expected shape \(B, n\)"),
        ({"psi": torch.zeros(2, 0, dtype=torch.complex128)}, "psi: expected shape"),
        ({"potential": torch.zeros(1, 1, 4, dtype=torch.float64)}, "potential: expected shape"),
        ({"potential": torch.zeros(2, 1, 5, dtype=torch.float64)}, "potential: expected shape"),
        ({"potential": torch.zeros(1, 3, 5, dtype=torch.float64)}, "potential: expected shape"),
        ({"potential": torch.zeros(1, 1, 5)}, "potential: expected dtype"),
        ({"kappa": torch.tensor(1.0)}, "kappa: expected a 0-dim float64 tensor"),
        ({"c": torch.ones(1, dtype=torch.float64)}, "c: expected a complex128 tensor"),
        ({"c": torch.ones(0, dtype=torch.complex128)}, "c: expected a complex128 tensor"),
        ({"c": torch.zeros(1, dtype=torch.complex128)}, "c: expected finite numbers other than 0"),
        ({"steps": -1}, "steps: expected an int >= 0"),
        ({"rule": "leapfrog"}, "rule: expected one of"),
        ({"order": 3}, "order: expected one of"),
        ({"boundary": "open"}, "boundary: expected one of"),
        ({"arithmetic": "float32"}, "arithmetic: expected 'float64'"),
        ({"backend": "fast"}, "backend: expected one of"),
        ({"rule": "euler"}, "reversible: expected False"),
    ],
)
def test_arguments_broken_once(change, message):
    names = ["psi", "potential", "kappa", "c", "steps", "rule", "order", "boundary", "arithmetic", "backend"]
    good = [t.detach() for t in arguments()]
    given = dict(zip(names, [*good, STEPS, *settings()[:-1]], strict=True)) | change
    with pytest.raises((TypeError, ValueError), match=message):
        torch.ops.qcore.schrodinger_evolve(*given.values(), True)
