#!/usr/bin/env bash
# What a machine with a GPU is for, without a network and in under nine minutes: build, test, measure.
#
#   bench/gpu.sh [FOLDER [PART...]]
#
# FOLDER takes the results (default docs/results): gpu.json, gpu.md, gpu-tests.txt. A PART is build, test, bench or sanitize
# (default: build test bench); a part that fails does not stop the next, and the exit status is the number of those that did.
#
# Needed: Python with torch for CUDA, nvcc, pybind11, scikit-build-core, CMake, ninja, pytest, NumPy and SciPy; tests of what else
# is missing are left out. Set PYTHON for another interpreter, QCORE_CUDA_ARCHITECTURES for other than that of the first GPU,
# QCORE_GPU_BUILD for another folder than build/gpu to build and install in; nothing else of the machine is changed.
set -uo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
out=${1:-docs/results}
parts=("${@:2}")
[[ ${#parts[@]} -gt 0 ]] || parts=(build test bench)
work=${QCORE_GPU_BUILD:-$PWD/build/gpu}
site=$work/site
mkdir -p "$out" "$work"
out=$(cd "$out" && pwd)

# Found before anything of qcore that is installed elsewhere.
export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1
failed=0

# part NAME SECONDS COMMAND...: runs it under a limit, tells how it went and how long it took.
part() {
  local name=$1 limit=$2 begin=$SECONDS status
  shift 2
  printf '\n=== %s (at most %d s)\n' "$name" "$limit"
  timeout --kill-after=10 "$limit" "$@"
  status=$?
  [[ $status -eq 0 ]] || failed=$((failed + 1))
  printf -- '--- %s: status %d after %d s\n' "$name" "$status" $((SECONDS - begin))
}

build() {
  local nvcc architecture
  nvcc=${CUDACXX:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
  architecture=${QCORE_CUDA_ARCHITECTURES:-$("$python" -c "
import torch
print('%d%d' % torch.cuda.get_device_capability() if torch.cuda.is_available() else 90)")} || return
  # One instruction set of the CPU's kernels is enough to compare with, and compiles in a third of the time.
  rm -rf "$site"
  CUDACXX=$nvcc CMAKE_BUILD_PARALLEL_LEVEL=$(nproc) SKBUILD_BUILD_DIR="$work/objects" \
    SKBUILD_CMAKE_DEFINE="QCORE_CUDA=ON;QCORE_CUDA_ARCHITECTURES=$architecture;QCORE_ISA_DISPATCH=OFF" \
    "$python" -m pip install --quiet --no-build-isolation --no-deps --no-index --target "$site" . || return
  "$python" -m qcore info
}

# With no plugins that happen to be there. Files that import what isn't installed are left out, and named at the top; warnings
# of versions that CI doesn't have are told, but are no failures.
pytest_() {
  local without
  without=$("$python" -c "
from importlib.util import find_spec
print(*(name for name in ('hypothesis', 'matplotlib', 'sklearn', 'torchdiffeq', 'tqdm') if find_spec(name) is None))")
  QCORE_TEST_WITHOUT=$without QCORE_REQUIRE_CUDA=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 OMP_NUM_THREADS=2 \
    "$@" "$python" -m pytest -p no:cacheprovider -W default -q "${pytest_arguments[@]}"
}

test_() {
  local pytest_arguments=(-m cuda --durations=10)
  if "$python" -c 'import xdist' 2>/dev/null; then pytest_arguments+=(-p xdist -n 4); fi
  pytest_ 2>&1 | tee "$out/gpu-tests.txt"
}

bench() {
  "$python" -m bench.gpu --budget "${QCORE_GPU_BUDGET:-170}" --json "$out/gpu.json" --markdown "$out/gpu.md"
}

# The small tests of tests/cuda under each tool. torch must not keep freed memory, or reads past an end would find other tensors.
# initcheck has to see who writes memory, torch's kernels included; the others look at ours alone, where the tool lets them.
sanitize() {
  local tool ours=() status=0 pytest_arguments=(-x tests/cuda -m "cuda and not slow")
  if compute-sanitizer --help 2>/dev/null | grep -q -- '--kernel-name'; then ours=(--kernel-name kernel_substring=qcore); fi
  for tool in memcheck racecheck synccheck initcheck; do
    [[ $tool != initcheck ]] || ours=()
    printf -- '--- %s\n' "$tool"
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 pytest_ timeout --kill-after=10 "${QCORE_GPU_TOOL_SECONDS:-130}" \
      compute-sanitizer --tool "$tool" --error-exitcode 86 "${ours[@]}" 2>&1 | tee "$out/gpu-$tool.txt" | tail -n 15
    [[ ${PIPESTATUS[0]} -eq 0 ]] || status=1
  done
  return "$status"
}

export -f build test_ pytest_ bench sanitize
export python out work site
for name in "${parts[@]}"; do
  case $name in
    build) part build 200 bash -c 'set -o pipefail; build' ;;
    test) part test 150 bash -c 'set -o pipefail; test_' ;;
    bench) part bench 185 bash -c 'set -o pipefail; bench' ;;
    sanitize) part sanitize 540 bash -c 'set -o pipefail; sanitize' ;;
    *) echo "no such part: $name (build, test, bench, sanitize)" >&2; exit 2 ;;
  esac
done
exit "$failed"
