"""What calls owe a GPU beside right numbers: the current stream and device, graphs, no waiting, large arrays.

A GPU is needed for most of it. What can go wrong in these tests themselves is tried on the CPU.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from operator_calls import CALLS, SAMPLERS, Call, Tensors
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from devices import require
from qcore.paths import transfer
from qcore.schrodinger import propagate
from qcore.stencil import residual_chain

OURS = "qcore"  # the namespace of all our kernels


def each(calls: list[Call]) -> pytest.MarkDecorator:
    """A test for each of them."""
    return pytest.mark.parametrize("call", calls, ids=lambda call: call.name.replace(" ", "_"))


every_call, every_free_call = each(CALLS), each([call for call in CALLS if not call.waits])


@pytest.fixture
def gpu() -> None:
    """A device, or a skip."""
    require("cuda")


cuda = [pytest.mark.cuda, pytest.mark.usefixtures("gpu")]


def on_gpu(test: Callable[..., Any]) -> Callable[..., Any]:
    """A test that needs a GPU."""
    for mark in cuda:
        test = mark(test)
    return test


def moved(tensors: Tensors, device: str = "cuda") -> Tensors:
    return tuple(tensor.to(device) for tensor in tensors)


def same(got: Tensors, expected: Tensors) -> None:
    """Close to rounding; integers and booleans equal."""
    for a, b in zip(got, expected, strict=True):
        wide = a.dtype in (torch.float64, torch.complex128)
        tolerance = {"rtol": 1e-9, "atol": 1e-11} if wide else {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(a.cpu(), b.cpu(), **tolerance)


# --- the calls themselves ---


@every_call
def test_calls_give_finite_numbers_that_depend_on_what_goes_in(call: Call) -> None:
    results = [call.run(*call.make()) for _ in range(2)]
    assert all(bool(part.isfinite().all()) for part in results[0])
    assert any(not torch.equal(a, b) for a, b in zip(*results, strict=True))


@every_call
@on_gpu
def test_the_same_numbers_as_on_the_cpu(call: Call) -> None:
    tensors = call.make()
    same(call.run(*moved(tensors)), call.run(*tensors))


@every_call
@on_gpu
def test_results_lie_where_the_arguments_do(call: Call) -> None:
    assert {part.device.type for part in call.run(*moved(call.make()))} == {"cuda"}


# --- streams ---


class Kernel(NamedTuple):
    """A launch, as the profiler saw it."""

    name: str
    device: int
    stream: int


def kernels_of(trace: Any) -> list[Kernel]:
    """The kernels of a trace in Chrome's format, in the order of their starts."""
    events = [event for event in trace["traceEvents"] if event.get("cat") == "kernel"]
    events.sort(key=lambda event: event["ts"])
    return [Kernel(event["name"], event["args"]["device"], event["args"]["stream"]) for event in events]


def traced(run: Callable[[], Any], folder: Path) -> list[Kernel]:
    """What a call puts on the device."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as record:
        run()
        torch.cuda.synchronize()
    record.export_chrome_trace(str(folder / "trace.json"))
    return kernels_of(json.loads((folder / "trace.json").read_text()))


def test_kernels_are_read_from_a_trace() -> None:
    def event(name: str, start: int, category: str = "kernel") -> dict[str, Any]:
        return {"cat": category, "name": name, "ts": start, "args": {"device": 0, "stream": 7}}

    trace = {"traceEvents": [event("b", 2), event("a", 1), event("copy", 0, "gpu_memcpy"), {"ph": "M"}]}
    assert kernels_of(trace) == [Kernel("a", 0, 7), Kernel("b", 0, 7)]


@every_call
@on_gpu
def test_kernels_run_on_the_current_stream_and_are_few(call: Call, tmp_path: Path) -> None:
    tensors = moved(call.make())
    call.run(*tensors)  # what is only done once is done
    side = torch.cuda.Stream()

    def run() -> None:
        with torch.cuda.stream(side):
            torch.cuda._sleep(1000)  # shows the stream's number
            call.run(*tensors)

    torch.cuda.synchronize()
    kernels = traced(run, tmp_path)
    marker, *_ = (kernel for kernel in kernels if "spin" in kernel.name or "sleep" in kernel.name)
    ours = [kernel for kernel in kernels if OURS in kernel.name]
    assert {(kernel.device, kernel.stream) for kernel in ours} == {(marker.device, marker.stream)}
    assert 1 <= len(ours) <= call.most, [kernel.name for kernel in ours]


@every_call
@on_gpu
def test_a_call_waits_for_what_was_put_on_its_stream_before(call: Call) -> None:
    good = moved(call.make())
    expected = call.run(*good)
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        late = tuple(torch.full_like(tensor, torch.nan) for tensor in good)
        torch.cuda._sleep(200_000_000)  # a tenth of a second
        for tensor, number in zip(late, good, strict=True):
            tensor.copy_(number)
        got = call.run(*late)
    side.synchronize()
    same(got, expected)


@every_free_call
@on_gpu
def test_graphs_replay_a_call_on_new_numbers(call: Call) -> None:
    first, second = moved(call.make()), moved(call.make())
    expected = [tuple(part.clone() for part in call.run(*tensors)) for tensors in (first, second)]
    inputs = tuple(tensor.clone() for tensor in first)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            call.run(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = call.run(*inputs)
    for tensors, right in zip((second, first), reversed(expected), strict=True):
        for tensor, number in zip(inputs, tensors, strict=True):
            tensor.copy_(number)
        graph.replay()
        same(got, right)


prototype = pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")


@contextmanager
def no_waiting() -> Iterator[None]:
    """Whatever waits for the device raises."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@prototype
@every_free_call
@on_gpu
def test_a_call_does_not_wait_for_the_device(call: Call) -> None:
    tensors = moved(call.make())
    call.run(*tensors)
    with no_waiting():
        call.run(*tensors)


@prototype
@on_gpu
def test_waiting_is_seen() -> None:
    x = torch.ones(3, device="cuda")
    with no_waiting(), pytest.raises(RuntimeError, match="synchroniz"):
        x.sum().item()


# --- operators and compilers ---


class Recorded(TorchDispatchMode):
    """The operators of ours that are called, with their arguments cut from any graph."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.namespace == OURS:
            self.calls.append((function, tree_map_only(Tensor, lambda tensor: tensor.detach(), args)))
        return function(*args, **(kwargs or {}))


every_operator = each([call for call in CALLS if call not in SAMPLERS])


def recorded(call: Call, tensors: Tensors) -> list[tuple[Any, tuple[Any, ...]]]:
    with Recorded() as record:
        call.run(*tensors)
    assert record.calls
    return record.calls


@every_operator
def test_operators_of_a_call_are_found(call: Call) -> None:
    names = {function.__name__.partition(".")[0] for function, _ in recorded(call, call.make())}
    family = {"propagate": "schrodinger", "cayley": "schrodinger"}.get(call.name.split()[0], "")
    assert all(name.startswith(family) for name in names)


@every_operator
@on_gpu
def test_opcheck(call: Call) -> None:
    for function, arguments in recorded(call, moved(call.make())):
        torch.library.opcheck(function, arguments)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["stencil", "stencil gradients", "propagate", "transfer"])
@on_gpu
def test_compiled(name: str) -> None:
    call = next(call for call in CALLS if call.name == name)
    tensors = moved(call.make())
    expected = call.run(*tensors)
    try:
        same(torch.compile(call.run)(*tensors), expected)
    finally:
        torch._dynamo.reset()


# --- devices ---


@every_call
@on_gpu
def test_a_device_that_is_not_the_current_one(call: Call) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    tensors = call.make()
    for current in (0, 1):
        with torch.cuda.device(current):
            got = call.run(*moved(tensors, "cuda:1"))
            assert torch.cuda.current_device() == current
        assert {part.device for part in got} == {torch.device("cuda:1")}
        same(got, call.run(*tensors))


@on_gpu
def test_tensors_of_two_devices_are_refused() -> None:
    x, taps = torch.rand(2, 1, 8, 8), torch.rand(3, 1, 3, 3)
    with pytest.raises((ValueError, RuntimeError), match=r"taps.*(cpu|CPU)"):
        residual_chain(x.cuda(), taps)
    with pytest.raises((ValueError, RuntimeError), match=r"taps.*cuda"):
        residual_chain(x, taps.cuda())
    if torch.cuda.device_count() > 1:
        with pytest.raises((ValueError, RuntimeError), match=r"taps.*cuda:1"):
            residual_chain(x.to("cuda:0"), taps.to("cuda:1"))


# --- more elements than 32 bits count ---

MANY = 2**31


def room_for(bytes_: int) -> None:
    """Skip where the device has less memory free."""
    free, _ = torch.cuda.mem_get_info()
    if free < 1.2 * bytes_:
        pytest.skip(f"{bytes_ / 2**30:.0f} GiB asked for, {free / 2**30:.0f} free")


def last_rows(
    function: Callable[[Tensor], Tensor], x: Tensor, axis: int, reach: int
) -> tuple[Tensor, Tensor]:
    """The last entries along an axis of function(x), and the same from the end of x alone.

    `reach` entries of the end are spoiled by the cut, and left out.
    """
    rows = 4
    whole = function(x)
    end = function(x.narrow(axis, x.shape[axis] - rows - reach, rows + reach).contiguous())
    return whole.narrow(axis, whole.shape[axis] - rows, rows), end.narrow(axis, reach, rows)


LARGE = {
    "images": ((MANY // 1024 + 3, 1, 32, 32), 0, 0),
    "plane": ((1, 1, MANY // 32768 + 3, 32768), 2, 2),
}


def chain_of_two(x: Tensor) -> Tensor:
    taps = torch.tensor([[0.1, 0.2, 0.0], [0.3, -0.5, 0.1], [0.0, 0.2, 0.1]], device=x.device)
    return residual_chain(x, taps.expand(2, 1, 3, 3))


@pytest.mark.parametrize("kind", LARGE)
def test_the_end_of_a_field_alone_gives_the_end(kind: str) -> None:
    (*front, width), axis, reach = LARGE[kind]
    x = torch.rand(*(min(n, 40) for n in front), min(width, 40))
    torch.testing.assert_close(*last_rows(chain_of_two, x, axis, reach), rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LARGE)
@on_gpu
def test_a_stencil_on_more_than_two_to_the_31_points(kind: str) -> None:
    shape, axis, reach = LARGE[kind]
    room_for(2 * 2 * MANY)
    x = torch.rand(shape, device="cuda", dtype=torch.float16)
    assert x.numel() > MANY
    torch.testing.assert_close(*last_rows(chain_of_two, x, axis, reach), rtol=1e-2, atol=1e-2)


@pytest.mark.slow
@on_gpu
def test_path_sums_over_more_than_two_to_the_31_sites() -> None:
    shape = MANY // 1024 + 3, 1024
    room_for(2 * 4 * MANY)
    psi = torch.rand(shape, device="cuda")
    taps = torch.tensor([0.2, 0.5, 0.3], device="cuda")

    def summed(psi: Tensor) -> Tensor:
        return transfer(psi, taps, steps=3, method="direct")

    torch.testing.assert_close(*last_rows(summed, psi, 0, 0))


@pytest.mark.slow
@on_gpu
def test_more_than_two_to_the_31_points_of_wave_functions() -> None:
    shape = MANY // 256 + 3, 256
    room_for(3 * 8 * MANY)
    psi = torch.rand(shape, device="cuda", dtype=torch.complex64)
    potential = torch.rand(256, device="cuda", dtype=torch.float64)

    def stepped(psi: Tensor) -> Tensor:
        out = propagate(psi, potential, dt=0.02, steps=2, spacing=0.1)
        assert isinstance(out, Tensor)
        return out

    torch.testing.assert_close(*last_rows(stepped, psi, 0, 0))
