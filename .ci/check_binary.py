"""Check the objects of a build, and say what its shared object asks of the system.

Each hot file is compiled once for every instruction set. What such an object defines for others to link must
carry the name of its set: an inline function of a shared header, compiled for AVX-512 and kept by the linker
as the only copy, would crash older processors. What the installed shared object needs and exports is a matter
of tests/packaging.

    python .ci/check_binary.py BUILD_FOLDER
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def output_of(*command: str | Path) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def shared_definitions(object_file: Path) -> list[str]:
    """Demangled names of the global, weak and unique symbols that an object defines, with their type."""
    rows = [line.split(maxsplit=2) for line in output_of("nm", "--demangle", "--defined-only", object_file)]
    shared = [f"{kind} {name}" for _, kind, name in rows if kind.isupper() or kind == "u"]
    return [symbol for symbol in shared if " DW.ref." not in symbol]  # addresses for unwinding, no code


def check_variant(folder: Path) -> list[str]:
    """What is wrong with the objects of one instruction set, in <build>/CMakeFiles/qcore_<isa>.dir."""
    isa = folder.name.removeprefix("qcore_").removesuffix(".dir")
    own = re.compile(rf"\bqcore::(\w+::)*{isa}::")
    problems = []
    objects = sorted(folder.rglob("*.o"))
    for file in objects:
        names = shared_definitions(file)
        foreign = [name for name in names if not own.search(name)]
        problems += [f"{file.name} for {isa} defines outside its namespace: {name}" for name in foreign]
        if len(names) == len(foreign):
            problems.append(f"{file.name} for {isa} defines nothing in its namespace: is it the right file?")
        print(f"{isa}: {file.name} has {len(names)} symbols to link, {len(foreign)} outside its namespace")
    return problems or ([] if objects else [f"no object for {isa} in {folder}"])


def newest(versions: list[str], prefix: str) -> str:
    found = {tuple(map(int, v.removeprefix(prefix).split("."))) for v in versions if v.startswith(prefix)}
    return prefix + ".".join(map(str, max(found))) if found else f"no {prefix.rstrip('_')}"


def main(build: Path) -> int:
    variants = [
        folder
        for pattern in ("qcore_v[0-9].dir", "qcore_baseline.dir")
        for folder in sorted((build / "CMakeFiles").glob(pattern))
    ]
    problems = [problem for folder in variants for problem in check_variant(folder)]
    if not variants:
        problems.append(f"no qcore_<isa>.dir in {build / 'CMakeFiles'}")

    (core,) = build.glob("_core*.so")
    requirements = "\n".join(output_of("readelf", "--wide", "--version-info", core))
    versions = re.findall(r"Name: ([A-Z]+_[0-9.]+)", requirements)
    needs = ", ".join(newest(versions, prefix) for prefix in ("GLIBC_", "GLIBCXX_", "CXXABI_", "GOMP_"))
    print(f"{core.name}: {core.stat().st_size / 1024:.0f} KiB, needs up to {needs}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
