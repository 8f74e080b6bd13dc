"""Wording of argument errors, the same for every operator and for the real and the fake call."""

from __future__ import annotations

from numbers import Real
from typing import Any

from torch import Tensor


def wrong_type(argument: str, expected: str, got: Any) -> TypeError:
    """Error for an argument of the wrong type or dtype; raise what it returns."""
    return TypeError(f"{argument}: expected {expected}, got {got}")


def wrong_value(argument: str, expected: str, got: Any) -> ValueError:
    """Error for an argument of the wrong shape or value; raise what it returns."""
    return ValueError(f"{argument}: expected {expected}, got {got}")


def shape(tensor: Tensor) -> str:
    """The shape of a tensor as an error message shows it."""
    return f"shape {tuple(tensor.shape)}"


def one_of(choices: Any) -> str:
    """The choices of an argument as an error message shows them."""
    return "one of " + ", ".join(repr(choice) for choice in choices)


def require_tensor(argument: str, value: Any) -> None:
    """Refuse what is not a torch tensor."""
    if not isinstance(value, Tensor):
        raise wrong_type(argument, "a torch.Tensor", type(value).__name__)


def require_number(argument: str, value: Any) -> None:
    """Refuse what is not a real number, of Python or NumPy; NaN and infinity pass."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Real)):
        raise wrong_type(argument, "a real number", type(value).__name__)


def require_positive(argument: str, value: Any) -> None:
    """Refuse what is not a finite real number above zero."""
    require_number(argument, value)
    if not 0.0 < value < float("inf"):
        raise wrong_value(argument, "a finite number > 0", value)


def require_count(argument: str, value: Any) -> None:
    """Refuse what is not an int >= 0."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(argument, "an int >= 0", type(value).__name__)
    if value < 0:
        raise wrong_value(argument, "an int >= 0", value)


def require_bool(argument: str, value: Any) -> None:
    """Refuse what is not True or False."""
    if not isinstance(value, bool):
        raise wrong_type(argument, "a bool", type(value).__name__)


def require_choice(argument: str, value: Any, choices: Any) -> None:
    """Refuse what is not one of the strings offered."""
    if not isinstance(value, str):
        raise wrong_type(argument, one_of(choices), type(value).__name__)
    if value not in choices:
        raise wrong_value(argument, one_of(choices), repr(value))
