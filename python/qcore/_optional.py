"""Packages that only an extra brings, imported when they are used."""

from __future__ import annotations

import importlib
from types import ModuleType


class MissingPackage(ImportError):
    """An optional package is not installed; the message says for what it is needed and how to get it."""


def optional_import(name: str, purpose: str, extra: str = "demo") -> ModuleType:
    """Import a package of an extra of ours.

    Raises:
        MissingPackage: it is not installed. Other import errors (a broken install) pass through.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        distribution = {"sklearn": "scikit-learn"}.get(package, package)
        raise MissingPackage(
            f'{purpose} needs {distribution}, which is not installed: pip install "qcore-kernels[{extra}]"',
            name=package,
        ) from None
