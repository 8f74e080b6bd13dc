"""The transfer under everything torch asks of an operator."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad

from qcore._ops import paths_transfer as ops
from qcore.paths import SignedLog, transfer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Torchinductor does not support:UserWarning"),
]

STEPS = 3
SEMIRINGS = ["real", "complex", "log", "max"]


def arguments(name: str, per_step: bool = False, sites: int = 5, kernel: int = 3, batch: int = 2):
    """psi, taps, potential and gates as leaves."""
    dtype = torch.complex128 if name == "complex" else torch.float64
    lead = (STEPS, batch) if per_step else (1, 1)
    made = (
        torch.randn(batch, sites, dtype=dtype),
        torch.randn(*lead, kernel, dtype=dtype),
        torch.randn(lead[0], 1, sites, dtype=torch.float64),
        torch.randn(1, lead[1], sites, dtype=dtype),
    )
    return tuple(t.requires_grad_() for t in made)


def run(name: str, boundary: str = "periodic", backend: str = "auto", exponent: bool = False):
    def call(psi, taps, potential, gates):
        found = transfer(
            psi,
            taps,
            potential=potential,
            gates=gates,
            steps=STEPS,
            boundary=boundary,
            semiring=name,
            out_exponent=exponent,
            backend=backend,
            method="direct",
        )
        return found[0] if exponent else found

    return call


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("boundary", ["zero", "periodic"])
@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("name", SEMIRINGS)
def test_gradients(name, per_step, boundary, backend):
    assert torch.autograd.gradcheck(run(name, boundary, backend), arguments(name, per_step), fast_mode=True)


@pytest.mark.parametrize("name", ["real", "complex"])
def test_gradients_of_scaled_runs(name):
    assert torch.autograd.gradcheck(run(name, exponent=True), arguments(name), fast_mode=True)


@pytest.mark.parametrize("every", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("name", ["linear", "log", "max"])
@pytest.mark.parametrize("scaled", [False, True])
def test_gradients_do_not_depend_on_what_is_kept(name, every, scaled):
    if scaled and name != "linear":
        return
    psi, taps = torch.randn(3, 40, dtype=torch.float64), torch.randn(7, 1, 5, dtype=torch.float64)
    factor, grad = torch.randn(7, 3, 40, dtype=torch.float64), torch.randn(3, 40, dtype=torch.float64)
    chain = psi, taps, factor, None, None, None, 7, "zero", name, scaled

    def pulled(keep):
        kept = ops._recorded(*chain, keep, "auto")[2]
        return ops._adjoint(grad, kept, *chain, keep, True, True, "auto")

    for found, expected in zip(pulled(every), pulled(7), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_gradients_of_signed_logs():
    psi, taps, _, gates = arguments("log")
    signs = [torch.randn(t.shape).sign().double() for t in (psi, taps, gates)]

    def call(p, t, g):
        signed = [SignedLog(s, x) for s, x in zip(signs, (p, t, g), strict=True)]
        return transfer(signed[0], signed[1], gates=signed[2], steps=STEPS, semiring="log").log

    assert torch.autograd.gradcheck(call, (psi, taps, gates))
    assert torch.autograd.gradgradcheck(call, (psi, taps, gates))


@pytest.mark.parametrize("name", SEMIRINGS)
@pytest.mark.parametrize("boundary", ["zero", "periodic"])
def test_second_derivatives_and_forward_mode(name, boundary):
    inputs = arguments(name, sites=4)
    assert torch.autograd.gradgradcheck(run(name, boundary), inputs, fast_mode=True)
    torch.autograd.gradcheck(
        run(name, boundary), inputs, check_forward_ad=True, check_batched_grad=True, fast_mode=True
    )


def test_second_derivatives_of_scaled_runs():
    """At a state whose largest entry is a power of two, where rounding could tip the exponent."""
    psi, taps, _, _ = arguments("real", sites=4)
    flat = torch.ones(2, 4, dtype=torch.float64, requires_grad=True)
    third = torch.full((1, 1, 3), 1 / 3, dtype=torch.float64, requires_grad=True)

    def call(p, t):
        return transfer(p, t, steps=STEPS, boundary="periodic", out_exponent=True)[0]

    assert torch.autograd.gradgradcheck(call, (psi, taps))
    plain = transfer(flat, third, steps=STEPS, boundary="periodic")
    scaled, exponent = transfer(flat, third, steps=STEPS, boundary="periodic", out_exponent=True)
    for out, factor in ((plain, 1.0), (scaled, 2.0 ** exponent[0].item())):
        (g,) = torch.autograd.grad(out.sum(), third, create_graph=True)
        (h,) = torch.autograd.grad(g.sum() * factor, third)
        torch.testing.assert_close(h, torch.full_like(third, 8.0 * 3 * 2 * 3), rtol=1e-10, atol=0)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(flat.detach(), torch.ones(2, 4, dtype=torch.float64))
        out, exponent = transfer(dual, third.detach(), steps=STEPS, boundary="periodic", out_exponent=True)
        value, tangent = forward_ad.unpack_dual(out)
    torch.testing.assert_close(tangent, value)


@pytest.mark.parametrize("name", SEMIRINGS)
def test_vmap_and_gradients_under_it(name):
    psi, taps, potential, gates = (t.detach() for t in arguments(name))
    many = torch.stack([psi, 2 * psi, psi.roll(1, -1)])
    more = torch.stack([taps, -taps, taps.flip(-1)])
    call = run(name)
    got = torch.func.vmap(lambda p: call(p, taps, potential, gates))(many)
    assert torch.equal(got, torch.stack([call(p, taps, potential, gates) for p in many]))
    got = torch.func.vmap(lambda p, t: call(p, t, potential, gates))(many, more)
    assert torch.equal(
        got, torch.stack([call(p, t, potential, gates) for p, t in zip(many, more, strict=True)])
    )
    got = torch.func.vmap(lambda t: call(psi, t, potential, gates), 3, 1)(more.movedim(0, 3))
    assert torch.equal(got, torch.stack([call(psi, t, potential, gates) for t in more], 1))

    def loss(p, t, v):
        return call(p, t, v, gates).abs().square().sum()

    found = torch.func.vmap(torch.func.grad(loss, (0, 1, 2)), (0, None, None))(many, taps, potential)
    for i in range(3):
        for mine, alone in zip(
            found, torch.func.grad(loss, (0, 1, 2))(many[i], taps, potential), strict=True
        ):
            torch.testing.assert_close(mine[i], alone)


def test_vmap_of_signed_logs():
    logs, signs = torch.randn(3, 2, 5), torch.randn(3, 2, 5).sign()
    taps = torch.randn(3)

    def call(s, x):
        return transfer(SignedLog(s, x), taps, steps=2, semiring="log")

    for dims in ((0, 0), (None, 0)):
        sign, log = torch.func.vmap(call, dims)(signs if dims[0] == 0 else signs[0], logs)
        for i in range(3):
            alone = call(signs[i] if dims[0] == 0 else signs[0], logs[i])
            assert torch.equal(sign[i], alone.sign)
            assert torch.equal(log[i], alone.log)


def test_jvp_is_the_transpose_of_the_vjp():
    for name in ("real", "log"):
        inputs = tuple(t.detach() for t in arguments(name))
        tangents = tuple(torch.randn_like(t) for t in inputs)
        out, pushed = torch.func.jvp(run(name), inputs, tangents)
        _, pull = torch.func.vjp(run(name), *inputs)
        w = torch.randn_like(out)
        left = (w * pushed).sum()
        right = sum((g * t).sum() for g, t in zip(pull(w), tangents, strict=True))
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize("name", ["linear", "log", "max"])
def test_opcheck(name):
    psi, taps, factor = torch.randn(2, 5), torch.randn(STEPS, 1, 3), torch.randn(1, 2, 5)
    for t in (psi, taps, factor):
        t.requires_grad_()
    sign = torch.ones(2, 5) if name == "log" else None
    settings = STEPS, "zero", name, name == "linear", "auto"
    torch.library.opcheck(
        torch.ops.qcore.paths_transfer.default,
        (psi, taps, factor, sign, None, None, *settings),
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["real", "log"])
def test_compiled_whole(name):
    inputs = arguments(name)
    compiled = torch.compile(run(name), fullgraph=True)
    loss, expected = compiled(*inputs).abs().sum(), run(name)(*inputs).abs().sum()
    torch.testing.assert_close(loss, expected)
    for got, wanted in zip(
        torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(got, wanted)


def test_exported():
    class Model(torch.nn.Module):
        def forward(self, psi, taps):
            return transfer(psi, taps, steps=STEPS, semiring="log")

    psi, taps = torch.randn(2, 5), torch.randn(3)
    program = torch.export.export(Model(), (psi, taps))
    assert torch.equal(program.module()(psi, taps), Model()(psi, taps))


def test_the_bare_adjoint_refuses_a_derivative():
    psi, taps = torch.randn(2, 5, requires_grad=True), torch.randn(1, 1, 3)
    bare = torch.ops.qcore.paths_transfer_adjoint
    kept = torch.empty(0, 1, 2, 5)
    with pytest.raises(NotImplementedError, match="no derivative of their own"):
        bare(psi, kept, psi, taps, None, None, None, None, 2, "zero", "linear", False, 0, True, False, "auto")
