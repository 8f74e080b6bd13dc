"""How much of a signal a chain lets through."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qcore._ops import _check


def mass_kept(chain: nn.Module, x: Tensor) -> Tensor:
    """Share of the mass, sum |u| over channels and sites, that is left after 0, 1, ..., depth layers.

    A deep PDE network whose layers drift all the same way carries its image out of the frame: at 1/2 pixel a
    layer nothing is left of 28 pixels after 50 layers.

    Args:
        chain: a module of :mod:`qcore.nn` that runs layers (``states_every``), of any depth.
        x: (B, C, *S), as the chain takes it.

    Returns:
        (depth + 1, B) in the dtype of x, starting with ones; nan for an image without mass. No gradients.

    Raises:
        TypeError: ``chain`` is no module with layers.
        TypeError, ValueError: x does not fit the chain.

    Source: signal propagation through untrained blocks, section 2 of the theory of residual networks.
    """
    _check.require_tensor("x", x)
    if not isinstance(chain, nn.Module) or not hasattr(chain, "depth"):
        raise _check.wrong_type("chain", "a chain of qcore.nn", type(chain).__name__)
    with torch.no_grad():
        _, states = chain(x, states_every=1)
    fields = torch.cat([x.unsqueeze(0), states])
    mass = fields.abs().flatten(2).sum(2)
    return mass / mass[0]
