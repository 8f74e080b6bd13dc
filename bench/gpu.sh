#!/usr/bin/env bash
# What a machine with a GPU is for, without a network and in under nine minutes: build, test, measure.
#
#   bench/gpu.sh [FOLDER [PART...]]
#
# FOLDER takes the results (default docs/results): stencil-gpu.json and .md, the same of the other families, gpu-tests.txt. Each
# is written as it comes: a part that fails or meets its limit leaves what it had, and does not stop the next. A PART is build,
# test, bench or sanitize (default: build test bench); the exit status is the number of those that failed.
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
for name in "${parts[@]}"; do
  [[ $name =~ ^(build|test|bench|sanitize)$ ]] || { echo "no such part: $name (build, test, bench, sanitize)" >&2; exit 64; }
done
work=${QCORE_GPU_BUILD:-$PWD/build/gpu}
site=$work/site
mkdir -p "$out" "$work"
out=$(cd "$out" && pwd)

# Found before anything of qcore that is installed elsewhere.
export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1
export PATH="$PATH:/usr/local/cuda/bin" TORCHINDUCTOR_CACHE_DIR=$work/inductor TRITON_CACHE_DIR=$work/triton
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
  nvcc=${CUDACXX:-$(command -v nvcc)}
  architecture=${QCORE_CUDA_ARCHITECTURES:-$("$python" -c "
import torch
print('%d%d' % torch.cuda.get_device_capability() if torch.cuda.is_available() else 90)")} || return
  # One instruction set of the CPU's kernels is enough to compare with, and compiles in a third of the time: this processor's, for
  # chains of samplers are the same bit for bit only where there is a fused multiply-add.
  rm -rf "$site"
  CUDACXX=$nvcc CXXFLAGS="${CXXFLAGS:-} -march=native" CMAKE_BUILD_PARALLEL_LEVEL=$(nproc) SKBUILD_BUILD_DIR="$work/objects" \
    SKBUILD_CMAKE_DEFINE="QCORE_CUDA=ON;QCORE_CUDA_ARCHITECTURES=$architecture;QCORE_ISA_DISPATCH=OFF" \
    "$python" -m pip install --quiet --no-build-isolation --no-deps --no-index --target "$site" . || return
  "$python" -m qcore info
}

# pytest, under the command given. With no plugins that happen to be there. Files that import what isn't installed are left out,
# and named at the top; warnings of versions that CI doesn't have are told, but are no failures.
pytest_() {
  local without
  without=$("$python" -c "
from importlib.util import find_spec
print(*(name for name in ('hypothesis', 'matplotlib', 'sklearn', 'torchdiffeq', 'tqdm') if find_spec(name) is None))")
  QCORE_TEST_WITHOUT=$without QCORE_REQUIRE_CUDA=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 OMP_NUM_THREADS=1 \
    "$@" "$python" -m pytest -p no:cacheprovider -W default -q "${pytest_arguments[@]}"
}

# A process for each file, many at once: a kernel that fails leaves its process without a device, and one that hangs would keep
# all after it. Logs are added as files come to their end; what ran into its limit has a traceback of where.
test_file() {
  local log status left pytest_arguments=("$1" -m cuda --durations=5 -o faulthandler_timeout=60)
  log=$work/tests/${1//\//-}.txt
  left=$((tests_end - $(date +%s)))
  if [[ $left -le 0 ]]; then
    printf '\n=== %s: not reached\n' "$1" | flock "$out/gpu-tests.txt" tee -a "$out/gpu-tests.txt"
    return 1
  fi
  pytest_ timeout --kill-after=5 "$left" >"$log" 2>&1
  status=$?
  [[ $status -ne 5 ]] || return 0  # none of its tests needs a device
  { printf '\n=== %s: status %d\n' "$1" "$status"; cat "$log"; } | flock "$out/gpu-tests.txt" tee -a "$out/gpu-tests.txt" |
    grep -E '^(=== |FAILED|ERROR|[0-9]+ (passed|failed|skipped|error))'
  return "$status"
}

test_() {
  mkdir -p "$work/tests"
  : >"$out/gpu-tests.txt"
  export tests_end=$(($(date +%s) + ${QCORE_GPU_TEST_SECONDS:-165}))
  # Those of the kernels first, then the numerical suites, whose tests run on a GPU as well as on the CPU.
  printf '%s\n' tests/cuda/test_*.py tests/*/test_*.py | awk '!seen[$0]++' | xargs -P "$(nproc)" -I{} bash -c 'test_file {}'
}

# A process for each family, and of the time that is left an equal share. No row begins in the last quarter of it.
bench() {
  local families=(stencil schrodinger paths) family limit status=0 left=3
  for family in "${families[@]}"; do
    limit=$(((deadline - $(date +%s)) / left--))
    if [[ $limit -lt 10 ]]; then
      echo "no time left for $family"
      status=1
      continue
    fi
    timeout --kill-after=5 "$limit" "$python" -m bench.gpu --only "gpu/$family" \
      --budget "${QCORE_GPU_BUDGET:-$((limit * 3 / 4))}" \
      --json "$out/$family-gpu.json" --markdown "$out/$family-gpu.md" || status=$?
  done
  return "$status"
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

export -f build test_ test_file pytest_ bench sanitize
export python out work site
# A part that is done early leaves its time to the benchmarks, which are last.
readonly total=525
for name in "${parts[@]}"; do
  case $name in
    build) part build 200 bash -c 'set -o pipefail; build' ;;
    test) part test 180 bash -c 'set -o pipefail; test_' ;;
    bench)
      left=$((total - SECONDS))
      export deadline=$(($(date +%s) + left))
      part bench $((left + 10)) bash -c 'set -o pipefail; bench'
      ;;
    sanitize) part sanitize 540 bash -c 'set -o pipefail; sanitize' ;;
  esac
done
exit "$failed"
