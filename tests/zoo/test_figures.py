"""Figures do not depend on what a user has set of matplotlib."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest

from zoo.figures import figure

ROOT = Path(__file__).parents[2]
HOSTILE = {"text.usetex": True, "figure.facecolor": "black", "savefig.dpi": 7, "font.size": 40}


def draw(target: Path) -> bytes:
    with figure(target, figsize=(3, 2)) as drawn:
        axes = drawn.add_subplot(xscale="log", xlim=(1e-3, 10))
        axes.set_title("cost $5 and $x_{ \x1b[31m", parse_math=False)
    return target.read_bytes()


def test_settings_change_nothing_and_stay(tmp_path: Path) -> None:
    before = draw(tmp_path / "plain.png")
    with matplotlib.rc_context(HOSTILE):
        assert draw(tmp_path / "hostile.png") == before
        assert all(matplotlib.rcParams[name] == value for name, value in HOSTILE.items())


@pytest.mark.parametrize("name", ["MPLBACKEND", "MATPLOTLIBRC"])
def test_settings_that_matplotlib_cannot_be_imported_with(tmp_path: Path, name: str) -> None:
    (tmp_path / "matplotlibrc").write_bytes(b"font.family: \xff\xfe\n")
    value = {"MPLBACKEND": "module://not_installed.here", "MATPLOTLIBRC": str(tmp_path)}[name]
    code = "import zoo.figures, os, sys; print(os.environ[sys.argv[1]])"
    plain = {key: v for key, v in os.environ.items() if not key.startswith("MPL")}
    done = subprocess.run(
        [sys.executable, "-c", code, name],
        env=plain | {name: value, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path if name == "MATPLOTLIBRC" else ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == value  # left to the user's own programs


def test_one_module_alone_imports_matplotlib() -> None:
    found = set()
    for folder in ("zoo", "plugins", "datasets", "benchmark", "docs"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                if any(each.partition(".")[0] == "matplotlib" for each in names):
                    found.add(file.relative_to(ROOT).as_posix())
    assert found == {"zoo/figures.py"}
