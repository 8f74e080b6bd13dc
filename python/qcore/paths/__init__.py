"""Path weights: exact sums over lattice paths, actions, networks that are paths, samplers."""

from qcore.paths._action import ActionParts, action, action_from_acceleration, action_from_velocity
from qcore.paths._canonical import CanonicalPath, canonical_form
from qcore.paths._cosine_features import cosine_kurtosis, cosine_two_point, random_cosine_paths
from qcore.paths._networks import (
    from_acceleration,
    from_cosine,
    from_velocity,
    log_jacobian,
    to_acceleration,
    to_cosine,
    to_velocity,
)
from qcore.paths._phi4 import lattice_laplacian, phi4_action, phi4_gradient
from qcore.paths._potential import Polynomial, Table

__all__ = [
    "ActionParts",
    "CanonicalPath",
    "Polynomial",
    "Table",
    "action",
    "action_from_acceleration",
    "action_from_velocity",
    "canonical_form",
    "cosine_kurtosis",
    "cosine_two_point",
    "from_acceleration",
    "from_cosine",
    "from_velocity",
    "lattice_laplacian",
    "log_jacobian",
    "phi4_action",
    "phi4_gradient",
    "random_cosine_paths",
    "to_acceleration",
    "to_cosine",
    "to_velocity",
]
