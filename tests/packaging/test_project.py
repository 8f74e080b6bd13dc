"""Files of the project that have to keep step with each other: pins, README, presets."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def pins() -> dict[str, Requirement]:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, filter(None, lines))}


def test_constraints_pin_exactly() -> None:
    for name, requirement in pins().items():
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(requirement.specifier)), name


def test_every_requirement_has_a_pin_it_allows(distribution: importlib.metadata.Distribution) -> None:
    pinned = pins()
    for requirement in map(Requirement, distribution.requires or []):
        pin = pinned.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement} has no pin in constraints.txt"
        (exact,) = pin.specifier
        assert requirement.specifier.contains(exact.version), f"{pin} is not {requirement}"


def test_readme_has_the_two_lines() -> None:
    """.ci/run runs the second one as it stands here."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines.count('pip install -c constraints.txt ".[demo]" && python -m qcore train') == 1
    assert lines.count('pip install -c constraints.txt ".[test]" && pytest') == 1


def python_blocks(file: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / file).read_text(), flags=re.DOTALL | re.MULTILINE)


def test_readme_examples_run() -> None:
    blocks = python_blocks("README.md")
    assert blocks
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"README.md, example {number}", "exec"), {"__name__": "readme"})


def test_presets_are_named_as_documented() -> None:
    presets = json.loads((ROOT / "CMakePresets.json").read_text())
    visible = [preset["name"] for preset in presets["configurePresets"] if not preset.get("hidden")]
    assert visible == ["release", "debug", "sanitize"]
