"""The compiled path sums called directly: what they refuse, whatever an operator above them checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from qcore import _core


def arguments(**changes: Any) -> dict[str, Any]:
    given = {
        "taps": np.full((2, 3), 0.5),
        "offsets": [0, -1, 0, 0, 0, 1],
        "gates": np.ones((2, 1, 1, 4)),
        "bias": None,
        "outputs": [0, 3],
        "boundary": 0,
        "weights": np.empty((1, 2, 4)),
        "from_bias": np.empty((1, 2)),
        "exponents": None,
    }
    return given | changes


def test_numpy_arrays_work() -> None:
    given = arguments()
    _core.paths_transfer(**given)
    step = 0.5 * (np.eye(4) + np.eye(4, k=1) + np.eye(4, k=-1))
    np.testing.assert_array_equal(given["weights"][0], (step @ step)[[0, 3]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"taps": np.zeros((2, 3), dtype=np.float32)}, "taps: expected"),
        ({"taps": np.zeros(6)}, "taps: expected 2 axes"),
        ({"taps": np.zeros((3, 2)).T}, "taps: expected a contiguous tensor"),
        ({"offsets": [0, 1]}, "offsets: expected 6 numbers"),
        ({"offsets": [0, -1, 0, 0, 0, 10**9]}, "offsets: expected steps shorter"),
        ({"boundary": 2, "offsets": [0, -4, 0, 0, 0, 4]}, "offsets: expected steps shorter"),
        ({"gates": np.ones((3, 1, 1, 4))}, "gates: expected shape"),
        ({"bias": np.ones(3)}, "bias: expected shape"),
        ({"outputs": [4, 0]}, "outputs: expected sites from 0 to 3, got 4"),
        ({"outputs": [0, -1]}, "outputs: expected sites from 0 to 3, got -1"),
        ({"boundary": 4}, "boundary: expected a code"),
        ({"weights": np.empty((1, 2, 5))}, "weights: expected shape"),
        ({"from_bias": np.empty((2, 2))}, "from_bias: expected shape"),
        ({"exponents": np.empty((1, 2))}, "exponents: expected shape"),
    ],
)
def test_transfer_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _core.paths_transfer(**arguments(**changes))


def test_outputs_may_not_overlap_inputs() -> None:
    shared = torch.ones(2, 1, 1, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="weights: expected"):
        _core.paths_transfer(**arguments(gates=shared, weights=shared.view(1, 2, 4)))


def test_enumerate_and_sample_refuse() -> None:
    given = {
        name: value for name, value in arguments().items() if name not in ("bias", "from_bias", "exponents")
    }
    given |= {"weights": np.empty((1, 2, 9)), "starts": np.empty((2, 9))}
    _core.paths_enumerate(**given)
    for name in ("weights", "starts"):
        with pytest.raises(ValueError, match=f"{name}: expected shape"):
            _core.paths_enumerate(**(given | {name: np.empty(3)}))
    with pytest.raises(ValueError, match="starts: expected"):
        _core.paths_enumerate(**(given | {"starts": given["weights"].reshape(2, 9)}))
    given = {
        name: value
        for name, value in arguments().items()
        if name not in ("weights", "from_bias", "exponents")
    }
    given |= {"psi0": np.ones((1, 1, 4)), "samples": 10, "seed": 0, "first": 0}
    given |= {"mean": np.empty((1, 2)), "variance": np.empty((1, 2))}
    _core.paths_sample(**given)
    for name, value in (
        ("psi0", np.ones((1, 4))),
        ("samples", 1),
        ("first", -1),
        ("mean", np.empty(2)),
        ("variance", np.empty(2)),
    ):
        with pytest.raises(ValueError, match=f"{name}: expected"):
            _core.paths_sample(**(given | {name: value}))
