"""Kernels under threads of every kind: Python's, OpenMP's, forked processes, DataLoader workers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from processes import in_process
from qcore import _core

IMAGES, PLANE = (64, 2, 28, 28), (1, 1, 400, 500)

# For the tests here and the processes they start. In NumPy: torch's operations may hang in a forked child.
HELPERS = """
import os, sys, torch
import numpy as np
from qcore import _core

def call(x, taps):
    y, grad_x, grad_taps = (np.full_like(a, np.nan) for a in (x, x, taps))
    _core.stencil_residual_chain(x, taps, None, y, None, None, 1.0, 1, 0.01, 0, 0, 0, 0)
    outputs = grad_x, grad_taps, None
    _core.stencil_residual_chain_backward(y, None, x, None, taps, None, *outputs, 1.0, 1, 0.01, 0, 0, 0, 0)
    return y, grad_x, grad_taps

def same(a, b):
    return all(np.array_equal(p, q) for p, q in zip(a, b))

def data(shape, seed=0):
    rng = np.random.default_rng(seed)
    taps = rng.standard_normal((9, shape[1], 3, 3), np.float32) / 12
    return rng.standard_normal(shape, np.float32), taps.astype(np.float32)
"""
_helpers: dict[str, Any] = {}
exec(HELPERS, _helpers)
call, same, data = _helpers["call"], _helpers["same"], _helpers["data"]
Arrays = tuple[np.ndarray[Any, Any], ...]


def with_helpers(code: str, **environment: str) -> str:
    """What code after the helpers prints in a fresh process."""
    return in_process(HELPERS + code, **environment)


# --- Python threads -------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [IMAGES, PLANE], ids=["images", "plane"])
def test_many_python_threads_at_once(shape: tuple[int, ...], threads: int) -> None:
    """Each gets what it gets alone: no scratch memory is shared."""
    torch.set_num_threads(threads)
    work = [data(shape, seed) for seed in range(6)]
    alone = [call(*w) for w in work]
    start = threading.Barrier(len(work))

    def repeat(w: Arrays) -> list[Arrays]:
        start.wait()
        return [call(*w) for _ in range(3)]

    with ThreadPoolExecutor(len(work)) as pool:
        for expected, found in zip(alone, pool.map(repeat, work), strict=True):
            for f in found:
                assert same(f, expected)


def test_gil_is_released() -> None:
    """Python runs on while a kernel does: another thread counts during one long call."""
    x, taps = data((1, 1, 600, 700))
    taps = np.tile(taps, (8, 1, 1, 1))
    y = np.empty_like(x)
    running, ticks = threading.Event(), 0
    torch.set_num_threads(1)

    def kernel() -> None:
        running.set()
        _core.stencil_residual_chain(x, taps, None, y, None, None, 1.0, 1, 0.01, 0, 0, 0, 1)
        running.clear()

    thread = threading.Thread(target=kernel)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread.start()
        assert running.wait(10)
        while running.is_set():
            time.sleep(1e-4)
            ticks += 1
        thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    # With the GIL held, only the ticks just before and after the call would get through.
    assert ticks > 10


def test_threads_may_end_and_begin_again() -> None:
    """The scratch memory of a thread goes with it."""
    x, taps = data(IMAGES)
    expected = call(x, taps)
    for _ in range(20):
        found: list[Arrays] = []
        thread = threading.Thread(target=lambda results: results.append(call(x, taps)), args=(found,))
        thread.start()
        thread.join(60)
        assert same(found[0], expected)


def test_errors_in_one_thread_do_not_reach_another() -> None:
    x, taps = data(IMAGES)
    expected = call(x, taps)

    def wrong(_: int) -> bool:
        with pytest.raises(ValueError, match=r"^taps: "):
            call(x, taps[:, :1, :2])
        return True

    with ThreadPoolExecutor(4) as pool:
        right = [pool.submit(call, x, taps) for _ in range(8)]
        assert all(pool.map(wrong, range(20)))
        assert all(same(r.result(), expected) for r in right)


# --- OpenMP ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_number_of_threads_is_torchs(threads: int) -> None:
    torch.set_num_threads(threads)
    assert _core.num_threads() == threads


def test_environment_sets_the_threads() -> None:
    assert with_helpers(
        "print(_core.num_threads(), torch.get_num_threads())", OMP_NUM_THREADS="1"
    ).split() == [
        "1",
        "1",
    ]


def test_called_from_a_backward_of_autograd() -> None:
    """Autograd may run it in a thread of its own; the bits stay the same."""
    out = with_helpers(
        """
torch.set_num_threads(4)
x, taps = data((1, 1, 400, 500))
expected = call(x, taps)

class Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1.0
    @staticmethod
    def backward(ctx, g):
        ctx.result = call(data((1, 1, 400, 500))[0], taps)
        results.append(ctx.result)
        return g

results = []
leaf = torch.ones(3, requires_grad=True)
sum(Chain.apply(leaf).sum() for _ in range(4)).backward()
print(len(results), all(same(r, expected) for r in results))
"""
    )
    assert out.split() == ["4", "True"]


def test_nested_openmp_region() -> None:
    """A library that calls a kernel from inside its own OpenMP region gets one thread and the same bits."""
    out = with_helpers(
        """
import ctypes
torch.set_num_threads(2)
gomp = ctypes.CDLL("libgomp.so.1")
x, taps = data((64, 2, 28, 28))
expected = call(x, taps)
seen, results = [], []

@ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # takes the GIL for each thread of the team
def body(_):
    seen.append(_core.num_threads())
    results.append(call(x, taps))

gomp.GOMP_parallel(body, None, 2, 0)
print(sorted(seen), all(same(r, expected) for r in results), _core.num_threads())
"""
    )
    assert out.split() == ["[1,", "1]", "True", "2"]


# --- fork -----------------------------------------------------------------------------------------

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@fork
@pytest.mark.parametrize("shape", [IMAGES, PLANE], ids=["images", "plane"])
def test_forked_child_does_not_hang(shape: tuple[int, ...]) -> None:
    """After a parallel region libgomp's threads exist in the parent only: the child must run serially."""
    out = with_helpers(
        f"""
torch.set_num_threads(4)
x, taps = data({shape})
expected = call(x, taps)          # starts the worker threads
pid = os.fork()
if pid == 0:
    ok = same(call(x, taps), expected) and _core.num_threads() == 1
    grandchild = os.fork()
    if grandchild == 0:
        os._exit(0 if same(call(x, taps), expected) else 1)
    ok = ok and os.waitpid(grandchild, 0)[1] == 0
    os._exit(0 if ok else 1)
status = os.waitpid(pid, 0)[1]
print(status, same(call(x, taps), expected), _core.num_threads())
"""
    )
    assert out.split() == ["0", "True", "4"]


@fork
def test_child_forked_before_any_kernel() -> None:
    out = with_helpers(
        """
x, taps = data((64, 2, 28, 28))
pid = os.fork()
if pid == 0:
    call(x, taps)
    os._exit(0)
print(os.waitpid(pid, 0)[1])
"""
    )
    assert out.split() == ["0"]


@fork
def test_fork_while_other_threads_run_kernels() -> None:
    out = with_helpers(
        """
import threading
torch.set_num_threads(2)
x, taps = data((64, 2, 28, 28))
expected = call(x, taps)
stop = threading.Event()

def busy():
    while not stop.is_set():
        call(x, taps)

threads = [threading.Thread(target=busy) for _ in range(2)]
[t.start() for t in threads]
codes = []
for _ in range(5):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if same(call(x, taps), expected) else 1)
    codes.append(os.waitpid(pid, 0)[1])
stop.set()
[t.join() for t in threads]
print(codes)
"""
    )
    assert out.strip() == "[0, 0, 0, 0, 0]"


@pytest.mark.parametrize("method", [pytest.param("fork", marks=fork), "spawn"])
def test_dataloader_workers(method: str, tmp_path: Path) -> None:
    """A dataset that runs a chain on every item, loaded by worker processes."""
    script = tmp_path / "load.py"
    script.write_text(
        HELPERS
        + f"""
class Evolved(torch.utils.data.Dataset):
    def __len__(self):
        return 12
    def __getitem__(self, i):
        return torch.from_numpy(call(*data((2, 2, 28, 28), i))[0])

if __name__ == "__main__":
    torch.set_num_threads(2)
    expected = [call(*data((2, 2, 28, 28), i))[0] for i in range(12)]
    options = dict(batch_size=3, num_workers=2, multiprocessing_context={method!r})
    loader = torch.utils.data.DataLoader(Evolved(), **options)
    print(same(torch.cat(list(loader)).numpy(), expected))
"""
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True"]
