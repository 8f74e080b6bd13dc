"""The examples run, and what they print is what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def test_network_is_a_path_integral(tmp_path: Path) -> None:
    script = str(EXAMPLES / "network_is_a_path_integral.py")
    line = [sys.executable, script, "--epochs", "1", "--out", "x.png"]
    found = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")

    def number(label: str) -> float:
        match = re.search(rf"{re.escape(label)}\D*?([-+]?\d[\d.]*(?:e[-+]\d+)?)", found.stdout)
        assert match, found.stdout
        return float(match[1])

    exact = ("|sum over paths - output|", "|path weights - Jacobian|", "one by one", "of an impulse|")
    for label in exact:
        assert number(label) < 1e-12
    assert abs(number("random paths into it")) < 4.5
    off = [float(value) for value in re.findall(r"off by ([\d.]+) %", found.stdout)]
    assert off[0] == 0
    assert min(off[1:]) > 1
