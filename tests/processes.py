"""Python in other processes: a fresh one for a piece of code, one that stays for each instruction set."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent


def in_process(code: str, timeout: float = 120.0, **environment: str) -> str:
    """What Python code prints in a fresh process that can import the tests; a hang is a failure."""
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": path, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"hangs; it printed {error.stdout!r}") from error
    assert done.returncode == 0, done.stderr
    return done.stdout


def with_isa(isa: str, function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` of a test module, in the process whose kernels are those of an instruction set.

    It is kept for the tests to come, which would wait for torch otherwise: seed what is random.
    """
    return pickle.loads(_process_of(isa).submit(_call, isa, function, args).result(timeout=300))


@cache
def _process_of(isa: str) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, context, initializer=_choose, initargs=(isa,))


def _choose(isa: str) -> None:
    os.environ["QCORE_ISA"] = isa  # read with the first import of qcore, by the first call


def _call(isa: str, function: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    from qcore import _core

    assert _core.isa() == isa
    return pickle.dumps(function(*args))  # by value: torch's own way shares memory between processes
