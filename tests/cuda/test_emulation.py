"""The emulated device: it computes what a device would, and finds the mistakes that it is there to find."""

from __future__ import annotations

import importlib
import itertools
import math
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

if os.environ.get("QCORE_REQUIRE_EMULATION", "0") in ("", "0"):
    selftest = pytest.importorskip("qcore._emulation_selftest", reason="built without QCORE_EMULATION")
else:
    selftest = importlib.import_module("qcore._emulation_selftest")

SCHEDULES = [0, 1, 2, 3]


@pytest.fixture(autouse=True, params=SCHEDULES)
def schedule(request: pytest.FixtureRequest) -> Iterator[int]:
    selftest.set_schedule(request.param)
    yield request.param
    selftest.set_schedule(0)


def every_index(grid: tuple[int, ...], block: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Rows of blockIdx and threadIdx, x the fastest."""
    axes = [range(n) for n in (*grid[::-1], *block[::-1])]
    return np.array([(x, y, z, i, j, k) for z, y, x, k, j, i in itertools.product(*axes)], np.uint32)


@pytest.mark.parametrize(
    ("grid", "block"),
    [((1, 1, 1), (1, 1, 1)), ((3, 1, 1), (70, 1, 1)), ((2, 3, 4), (5, 3, 2)), ((1, 2, 1), (32, 16, 2))],
)
def test_every_thread_runs_once(schedule: int, grid: tuple[int, ...], block: tuple[int, ...]) -> None:
    rows, expected = selftest.indices(grid, block), every_index(grid, block)
    if schedule == 0:
        np.testing.assert_array_equal(rows, expected)
    else:
        np.testing.assert_array_equal(np.unique(rows, axis=0), np.unique(expected, axis=0))
        assert len(expected) < 10 or (rows != expected).any()


def test_a_schedule_is_an_order(schedule: int) -> None:
    """The same each time, and another one for another number."""
    first = selftest.indices((4, 2, 1), (8, 1, 1))
    np.testing.assert_array_equal(first, selftest.indices((4, 2, 1), (8, 1, 1)))
    selftest.set_schedule(schedule + 1)
    assert (first != selftest.indices((4, 2, 1), (8, 1, 1))).any()


@pytest.mark.parametrize("block", [1, 32, 256, 1024])
def test_tree_reduction(block: int) -> None:
    x = np.random.default_rng(0).normal(size=3 * block)
    halves = x.reshape(3, block)
    while halves.shape[1] > 1:
        halves = halves[:, : halves.shape[1] // 2] + halves[:, halves.shape[1] // 2 :]
    np.testing.assert_array_equal(selftest.block_sums(x, block), halves[:, 0])


def test_missing_barrier_shows_in_a_shuffled_schedule(schedule: int) -> None:
    x = np.arange(64.0)
    np.testing.assert_array_equal(selftest.shifted(x, True), np.roll(x, 1))
    assert np.array_equal(selftest.shifted(x, False), np.roll(x, 1)) == (schedule == 0)


def test_order_of_blocks_shows_in_a_shuffled_schedule(schedule: int) -> None:
    assert np.array_equal(selftest.followed(50), np.arange(50)) == (schedule == 0)


@pytest.mark.parametrize("returning", [0, 1, 40])
@pytest.mark.parametrize("holding", [0, 63, 100])
def test_barriers_count_the_threads_that_are_left(returning: int, holding: int) -> None:
    predicate = np.arange(100) < holding
    count = int(predicate[returning:].sum())
    expected = np.full((100, 3), -1)
    expected[returning:] = count, count == 100 - returning, count > 0
    np.testing.assert_array_equal(selftest.votes_of_block(predicate.astype(int), returning), expected)


def source_lane(kind: str, lane: int, argument: int, width: int) -> int:
    """PTX, shfl.sync."""
    first, last = lane // width * width, lane // width * width + width - 1
    if kind == "idx":
        return first + argument % width
    source = {"up": lane - argument % 32, "down": lane + argument % 32, "xor": lane ^ (argument % 32)}[kind]
    return source if (source >= first if kind == "up" else source <= last) else lane


DTYPES = {
    "int": np.int32,
    "unsigned": np.uint32,
    "long_long": np.int64,
    "float": np.float32,
    "double": np.float64,
}


@pytest.mark.parametrize("width", [32, 16, 8, 1])
@pytest.mark.parametrize("kind", ["idx", "up", "down", "xor"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_shuffles(dtype: str, kind: str, width: int) -> None:
    rng = np.random.default_rng(width)
    values = (2 ** rng.uniform(0, 62 if dtype == "long_long" else 30, 64)).astype(DTYPES[dtype])
    arguments = rng.integers(0, 40, 64)
    lanes = [source_lane(kind, t % 32, int(arguments[t]), width) + t // 32 * 32 for t in range(64)]
    got = getattr(selftest, f"shuffled_{dtype}")(kind, values, arguments, 0xFFFFFFFF, width)
    np.testing.assert_array_equal(got, values[lanes])


def test_shuffles_of_some_lanes() -> None:
    """Only lanes of the mask take part; from the others comes what nobody can mistake for a value."""
    values = np.arange(64.0)
    mask = 0x00F0FF0F
    expected = values.copy()
    for t in range(64):
        if mask >> t % 32 & 1:
            source = t % 32 ^ 4
            expected[t] = values[t ^ 4] if mask >> source & 1 else math.nan
    np.testing.assert_array_equal(selftest.shuffled_double("xor", values, [4] * 64, mask, 32), expected)


@pytest.mark.parametrize("split", [32, 16, 5])
@pytest.mark.parametrize("pattern", ["none", "some", "all"])
def test_votes(pattern: str, split: int) -> None:
    predicate = {"none": np.zeros(96, int), "some": np.arange(96) * 7 % 5 // 3, "all": np.ones(96, int)}[
        pattern
    ]
    expected = np.empty((96, 3), np.uint32)
    for t in range(96):
        lanes = range(split) if t % 32 < split else range(split, 32)
        held = [lane for lane in lanes if predicate[t // 32 * 32 + lane]]
        expected[t] = sum(1 << lane for lane in held), len(held) > 0, len(held) == len(lanes)
    np.testing.assert_array_equal(selftest.votes_of_warp(predicate, split), expected)


def test_overlapping_masks_take_turns() -> None:
    assert selftest.overlapping_masks()


@pytest.mark.parametrize("writes", [False, True], ids=["read", "write"])
@pytest.mark.parametrize("access", ["global", "shared"])
@pytest.mark.parametrize("index", [-1, 5, 1000])
def test_out_of_bounds(access: str, index: int, writes: bool) -> None:
    run = getattr(selftest, f"access_{access}")
    run(5, 4, writes)
    where = r"block \([01], 0, 0\), thread \(3, 0, 0\)"
    with pytest.raises(
        selftest.AccessError, match=rf"{where}: element {index} of 5 \(8 bytes at byte {8 * index} of 40\)"
    ):
        run(5, index, writes)


def test_null_pointer() -> None:
    with pytest.raises(selftest.AccessError, match="no memory behind this pointer"):
        selftest.access_global(0, 0, False)


def test_shared_memory_starts_as_nan() -> None:
    assert math.isnan(selftest.uninitialised_shared())


WRONG = {
    "divergent barrier": r"divergent barrier in block \(0, 0, 0\): .* at __syncthreads \(selftest\.cu:\d+\)",
    "barrier against shuffle": r"0-39, 41-63 wait at __syncthreads .* 40 wait at __shfl_sync with mask 0xf+",
    "lane that returned before": r"missing lanes in .* for lanes 0, which",
    "lane that returns after": r"missing lanes in .* for lanes 31, which",
    "mask without itself": r"mask without the calling lane in .*: .*, calls __syncwarp with mask 0x1 ",
    "different masks": r"lanes disagree in .*: .*(0x1ffff .*0xffffffff|0xffffffff .*0x1ffff )",
    "different operations": r"lanes disagree in .*: .*(__syncwarp with .*__any_sync|__any_sync .*__syncwarp)",
    "width": r"__shfl_sync: width: expected a power of two up to 32, got 12, in block",
    "trap": r"__trap in block \(0, 0, 0\), thread \(5, 0, 0\)",
    "launch in a kernel": r"called in a kernel",
    "misaligned shared memory": r"expected a multiple of 8, got an address that is 4 beyond one",
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_kernels_are_found(what: str) -> None:
    with pytest.raises(selftest.Error, match=WRONG[what]):
        selftest.run_wrong(what)
    assert selftest.unwound()[1] == 0
    assert selftest.overlapping_masks()


def test_exceptions_unwind_every_thread() -> None:
    most, alive, message = selftest.unwound()
    assert 1 <= most <= 64
    assert alive == 0
    assert message == "thrown by the kernel"


@pytest.mark.parametrize(
    ("grid", "block", "shared", "message"),
    [
        ((1, 1, 1), (1025, 1, 1), 0, r"blockDim\.x: expected 1 to 1024, got 1025"),
        ((1, 1, 1), (1, 1, 65), 0, r"blockDim\.z: expected 1 to 64, got 65"),
        ((1, 1, 1), (32, 33, 1), 0, r"threads per block: expected 1 to 1024, got 1056"),
        ((0, 1, 1), (1, 1, 1), 0, r"gridDim\.x: expected 1 to 2147483647, got 0"),
        ((1, 65536, 1), (1, 1, 1), 0, r"gridDim\.y: expected 1 to 65535, got 65536"),
        ((1, 1, 1), (1, 1, 1), 232449, r"bytes of shared memory: expected 0 to 232448, got 232449"),
    ],
)
def test_launches_beyond_the_limits(
    grid: tuple[int, ...], block: tuple[int, ...], shared: int, message: str
) -> None:
    with pytest.raises(selftest.LaunchError, match=message):
        selftest.launch(grid, block, shared)
    selftest.launch((1, 1, 1), (1024, 1, 1), 232448)


def test_threads_launch_independently() -> None:
    """Threads of the operating system with launches at the same time, some of Python and some below it."""
    sums: dict[int, list[float]] = {}

    def work(i: int) -> None:
        sums[i] = selftest.launches_of_threads(2, 20)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == {i: [0.0, 3 * 32 * 20.0] for i in range(3)}


@pytest.mark.parametrize("part", ["pointers", "memory", "atomics", "intrinsics", "runtime"])
def test_parts(part: str) -> None:
    assert getattr(selftest, part)() == []


def test_operations_are_rounded_one_by_one() -> None:
    """1 + 2^-52 squared is 1 + 2^-51 + 2^-104; the last term is lost if the product is rounded."""
    a = 1 + 2.0**-52
    c = -(1 + 2.0**-51)
    for rounded in (selftest.multiply_add, selftest.multiply_then_add):
        assert rounded(a, a, c) == 0
    assert selftest.add_product(a, a, c) == 0
    assert selftest.fused(a, a, c) == 2.0**-104
    b = 1 + 2.0**-23
    assert selftest.multiply_add_float(b, b, -(1 + 2.0**-22)) == 0
