"""The same bits for any number of threads and split of the batch, the same numbers from every instruction
set, and direct calls of the compiled module that refuse what they can't compute.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from processes import with_isa
from qcore import _core
from qcore._ops.paths_action_composite import SCHEMES

QUARTIC = torch.tensor([0.0, 0.0, 0.5, 0.0, 1.0], dtype=torch.float64)
FACTORS = torch.tensor([[1.3, 0.4, -0.2], [0.1, -0.7, 0.3]], dtype=torch.float64)


def suite() -> list[tuple[Any, ...]]:
    """Arguments of the operator: sizes beside those of vectors and blocks, every scheme and potential."""
    g = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64) * 0.3

    cases: list[tuple[Any, ...]] = []
    for scheme in SCHEMES:
        lam = 0.002 if scheme == "midpoint-vanvleck" else 0.0
        for dtype in (torch.float32, torch.float64):
            for batch, beads in ((301, 129), (9, 1501), (70, 17)):
                tail = scheme, False, lam, "path", 0.0, False
                x = draw(batch, beads).to(dtype)
                cases.append((x, None, None, QUARTIC, FACTORS, False, 0.0, 1.0, *tail))
            own = draw(301, 4) + 1
            x = draw(301, 65).to(dtype)
            cases.append((x, None, None, own, FACTORS, False, 0.0, 1.0, *tail))
            tail = scheme, False, lam, "acceleration", 0.1, False
            w, ini, fin = 0.3 * draw(301, 33).to(dtype), draw(301).to(dtype), draw(301).to(dtype)
            cases.append((w, ini, fin, QUARTIC, FACTORS, False, 0.0, 1.0, *tail))
            if scheme != "midpoint-vanvleck":
                tail = scheme, True, lam, "path", 0.0, True
                x = draw(301, 64).to(dtype)
                cases.append((x, None, None, draw(9, 4), FACTORS, True, -1.0, 0.25, *tail))
    return cases


def gradient(case: tuple[Any, ...], backend: str) -> Any:
    grad = torch.linspace(-1, 1, 2 * case[0].shape[0], dtype=torch.float64).view(2, -1)
    return torch.ops.qcore.paths_action_gradient(grad, *case, backend, True)


def results(backend: str = "auto") -> list[tuple[torch.Tensor, bool]]:
    """Everything once, each with whether it was computed in single precision."""
    found: list[tuple[torch.Tensor, bool]] = []

    def add(tensors: Any, single: bool) -> None:
        found.extend((t, single) for t in tensors)

    for case in suite():
        single = case[0].dtype == torch.float32
        add([torch.ops.qcore.paths_action(*case, backend), *gradient(case, backend)], single)
        if case[1] is not None:
            add([torch.ops.qcore.paths_integrate(*case[:3], case[11], case[12])], single)
    phi = torch.linspace(-1, 1, 40 * 9 * 33, dtype=torch.float64).sin().view(40, 9, 33)
    row, grad = torch.ones(1, 4, dtype=torch.float64), torch.ones(1, 40, dtype=torch.float64)
    for field in (phi, phi.float()):
        for midpoint in (False, True):
            s = torch.ops.qcore.paths_phi4(field, row, midpoint, True, backend)
            force = torch.ops.qcore.paths_phi4_gradient(grad, field, row, midpoint, False, backend)
            add([s, force], field.dtype == torch.float32)
    return found


@cache
def reference() -> list[tuple[torch.Tensor, bool]]:
    return results("reference")


def test_threads_change_no_bit() -> None:
    torch.set_num_threads(1)
    alone = results()
    torch.set_num_threads(2)
    for (one, _), (two, _) in zip(alone, results(), strict=True):
        assert torch.equal(one, two)


def test_splits_of_the_batch_change_no_bit() -> None:
    for case in suite():
        batch = case[0].shape[0]
        whole = torch.ops.qcore.paths_action(*case, "auto")
        whole_gradient = gradient(case, "auto")[0]
        grad = torch.linspace(-1, 1, 2 * batch, dtype=torch.float64).view(2, -1)
        for part in (slice(0, 1), slice(5, 18), slice(batch - 3, batch)):
            own = case[3].ndim == 2 and not case[5]
            cut = [t if t is None else t[part] for t in case[:3]]
            some = (*cut, case[3][part] if own else case[3], *case[4:])
            assert torch.equal(torch.ops.qcore.paths_action(*some, "auto"), whole[:, part])
            found = torch.ops.qcore.paths_action_gradient(grad[:, part], *some, "auto", False)[0]
            assert torch.equal(found, whole_gradient[part])


@pytest.mark.parametrize("isa", _core.isa_available())
def test_every_instruction_set_computes_the_same(isa: str) -> None:
    found = with_isa(isa, results)
    for (one, single), (two, _) in zip(found, reference(), strict=True):
        scale = float(two.abs().max()) if two.numel() else 0.0
        torch.testing.assert_close(one, two, rtol=0, atol=(3e-6 if single else 2e-12) * (scale + 1e-30))


# --- direct calls ---


def direct(**changes: Any) -> dict[str, Any]:
    good: dict[str, Any] = {
        "x": torch.zeros(3, 5),
        "x_ini": None,
        "x_fin": None,
        "coefficients": QUARTIC,
        "factors": FACTORS,
        "out": torch.empty(2, 3, dtype=torch.float64),
        "table": False,
        "start": 0.0,
        "spacing": 1.0,
        "scheme": 0,
        "periodic": False,
        "lambda_": 0.0,
        "parameters": 0,
        "dt": 0.1,
        "hold_ends": False,
        "backend": 0,
    }
    return good | changes


SHARED = torch.zeros(15, dtype=torch.float64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.zeros(3, 5, dtype=torch.float16)}, "x: expected float32 or float64"),
        ({"x": torch.zeros(5, 3).T}, "x: expected a contiguous tensor"),
        ({"x": torch.zeros(15)}, r"x: expected shape \(B, M\)"),
        ({"x": torch.zeros(3, 0)}, "x: expected at least one bead"),
        ({"x_fin": torch.zeros(3)}, "x_ini: expected none"),
        ({"parameters": 1}, "x_ini: expected shape"),
        ({"parameters": 1, "x_ini": torch.zeros(2)}, "x_ini: expected shape"),
        ({"parameters": 1, "x_ini": torch.zeros(3).double()}, "x_ini: expected dtype"),
        ({"parameters": 2, "x_ini": torch.zeros(3), "hold_ends": True}, "hold_ends"),
        ({"parameters": 3}, "parameters: expected a code"),
        ({"scheme": 7}, "scheme: expected a code"),
        ({"scheme": 4, "x": torch.zeros(3, 4)}, "x: expected an even number of steps"),
        ({"backend": -1}, "backend: expected a code"),
        ({"coefficients": torch.zeros(5)}, "coefficients: expected dtype"),
        ({"coefficients": torch.zeros(0).double()}, "coefficients: expected shape"),
        ({"coefficients": torch.zeros(17).double()}, "coefficients: expected shape"),
        ({"coefficients": torch.zeros(4, 5).double()}, "coefficients: expected shape"),
        ({"table": True}, "coefficients: expected cells"),
        ({"table": True, "coefficients": torch.zeros(2, 4).double(), "spacing": -1.0}, "spacing: expected"),
        (
            {"table": True, "coefficients": torch.zeros(2, 4).double(), "scheme": 6},
            "scheme: expected another",
        ),
        ({"factors": torch.zeros(3).double()}, "factors: expected shape"),
        ({"factors": torch.zeros(4, 3).double()}, "factors: expected shape"),
        ({"out": torch.empty(2, 4).double()}, "out: expected shape"),
        ({"out": torch.empty(2, 3)}, "out: expected dtype"),
        ({"out": torch.empty(3, 2).double().T}, "out: expected a contiguous tensor"),
        ({"x": SHARED.view(3, 5), "out": SHARED[:6].view(2, 3)}, "out: expected memory of its own"),
    ],
)
def test_direct_calls_refuse(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _core.paths_action(**direct(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grad": torch.zeros(1, 3).double()}, "grad: expected shape"),
        ({"grad_x": torch.zeros(3, 4)}, "grad_x: expected shape"),
        ({"grad_x": torch.zeros(3, 5).double()}, "grad_x: expected dtype"),
        ({"grad_ini": torch.zeros(3)}, "grad_ini: expected one where x_ini is given"),
        ({"grad_fin": torch.zeros(3)}, "grad_fin: expected one where x_fin is given"),
        ({"grad_coefficients": torch.zeros(4).double()}, "grad_coefficients: expected shape"),
        ({"grad_coefficients": QUARTIC}, "grad_coefficients: expected memory of its own"),
    ],
)
def test_direct_gradients_refuse(changes: dict[str, Any], message: str) -> None:
    good = direct()
    del good["out"]
    good |= {"grad": torch.zeros(2, 3).double(), "grad_x": torch.zeros(3, 5)}
    good |= {"grad_ini": None, "grad_fin": None, "grad_coefficients": None}
    with pytest.raises(ValueError, match=message):
        _core.paths_action_gradient(**(good | changes))


def test_direct_calls_of_networks_and_fields_refuse() -> None:
    w, ini, x = torch.zeros(3, 4), torch.zeros(3), torch.zeros(3, 5)
    for arguments, message in [
        ((w, ini, None, x, 0, 0.1), "parameters: expected velocity"),
        ((w, ini, None, x[:, :4], 1, 0.1), "x: expected shape"),
        ((w, ini, ini, x, 1, 0.1), "x: expected shape"),
        ((w.double(), ini, None, x, 1, 0.1), "x_ini: expected dtype"),
        ((x[:, :4], ini, None, x, 1, 0.1), "contiguous"),
    ]:
        with pytest.raises(ValueError, match=message):
            _core.paths_integrate(*arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="grad_ini: expected memory of its own"):
        _core.paths_integrate_adjoint(x, w, x.view(-1)[:3], None, 1, 0.1)
    with pytest.raises(ValueError, match="at least 2 beads"):
        _core.paths_integrate_adjoint(torch.zeros(3, 1), torch.zeros(3, 0), ini, ini.clone(), 1, 0.1)
    phi, row, out = torch.zeros(2, 3, 4), torch.zeros(1, 4).double(), torch.zeros(1, 2).double()
    for arguments, message in [
        ((phi[0], row, out), r"phi: expected shape \(B, T, L\)"),
        ((phi.half(), row, out), "phi: expected float32"),
        ((phi, row.float(), out), "factors: expected dtype"),
        ((phi, row[:, :3].contiguous(), out), "factors: expected shape"),
        ((phi, row, out.float()), "out: expected dtype"),
    ]:
        with pytest.raises(ValueError, match=message):
            _core.paths_phi4_action(*arguments, False, True, False)
    with pytest.raises(ValueError, match="grad_phi: expected memory of its own"):
        _core.paths_phi4_gradient(phi, row, out, phi, False, True, False)
