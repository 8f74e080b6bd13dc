"""How operators of states (B, *S) and a field that they share or do not share go under vmap."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def side_by_side(
    operator: Any, info: Any, in_dims: Any, args: tuple[Any, ...], lead: tuple[int, ...]
) -> tuple[Any, Any]:
    """One call on more systems where only states and field are batched, else one call after the other.

    The first arguments are states (B, *S) and a field (K, 1 or B, *S).

    Args:
        operator: what to call; returns a tensor or a tuple of them.
        info, in_dims, args: see torch.library.register_vmap.
        lead: for each output the number of axes before its batch axis.
    """
    states, field, *rest = args
    size, (states_dim, field_dim, *rest_dims) = info.batch_size, in_dims
    if size == 0 or any(isinstance(d, int) for d in rest_dims):  # those of a list are a list of None
        return one_by_one(operator, size, in_dims, args)
    many = states.expand(size, *states.shape) if states_dim is None else states.movedim(states_dim, 0)
    batch, *space = many.shape[1:]
    if field_dim is not None or field.shape[1] != 1:
        own = field.unsqueeze(1) if field_dim is None else field.movedim(field_dim, 1)
        field = own.expand(-1, size, batch, *space).flatten(1, 2)
    outputs = operator(many.flatten(0, 1), field, *rest)
    single = isinstance(outputs, Tensor)
    apart = tuple(
        out.reshape(*out.shape[:axis], size, batch, *out.shape[axis + 1 :])
        for out, axis in zip((outputs,) if single else outputs, lead, strict=True)
    )
    return (apart[0], 0) if single else (apart, lead)


def one_by_one(operator: Any, size: int, in_dims: Any, args: tuple[Any, ...]) -> tuple[Any, Any]:
    """`size` calls, their outputs stacked."""
    calls = [
        operator(*(a.select(d, i) if isinstance(d, int) else a for a, d in zip(args, in_dims, strict=True)))
        for i in range(size)
    ]
    if isinstance(calls[0], Tensor):
        return torch.stack(calls), 0
    outputs = tuple(torch.stack(parts) for parts in zip(*calls, strict=True))
    return outputs, (0,) * len(outputs)
