"""Reading the documents: their blocks, what they tell a reader to type, and trying that."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from zoo.cli.main import app

ROOT = Path(__file__).parents[2]
PATHS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS = {p.relative_to(ROOT).as_posix(): p.read_text(encoding="utf-8") for p in PATHS}
"""Name and content of every document."""


def files(document: str) -> list[tuple[str, str]]:
    """(name, content) of every block that follows a line with nothing but its file's name."""
    return re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)


def blocks(document: str, language: str) -> list[str]:
    """The content of every block of a language, named or not."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)


def scripts(document: str) -> list[str]:
    """The shell blocks that are a whole script, for another machine."""
    return [block for block in blocks(document, "sh") if block.startswith("#!")]


def lines_to_type(document: str) -> list[list[str]]:
    """`shell_lines` but for those of scripts."""
    for script in scripts(document):
        document = document.replace(script, "")
    return shell_lines(document)


def shell_lines(document: str) -> list[list[str]]:
    """The words of every line of the shell blocks; a backslash at its end goes on."""
    text = "".join(blocks(document, "sh")).replace("\\\n", " ")
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def typed(document: str) -> list[list[str]]:
    """What the document tells a reader to type: lines of shell blocks and code in the text."""
    prose = re.sub(r"^```.*?^```$", "", document, flags=re.MULTILINE | re.DOTALL)
    spans = [code.replace("…", "").split() for code in re.findall(r"`([^`\n]+)`", prose)]
    return shell_lines(document) + [words for words in spans if words]


def anchors(document: str) -> set[str]:
    """What a code host makes of the headings."""
    prose = re.sub(r"^```.*?^```$", "", document, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def help_texts() -> Mapping[str, str]:
    """The help of `zoo` (under the empty name) and of each of its commands, nested ones too."""
    texts: dict[str, str] = {}

    def add(name: str, command: Any, context: Any) -> None:
        texts[name] = command.get_help(context)
        for below in getattr(command, "commands", {}):
            inner = command.get_command(context, below)
            below_context = inner.make_context(below, [], parent=context, resilient_parsing=True)
            add(f"{name} {below}".strip(), inner, below_context)

    top = get_command(app)
    add("", top, top.make_context("zoo", [], resilient_parsing=True))
    return texts


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A file of `docs`, imported."""
    spec = spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def flags(text: str) -> set[str]:
    """The long options that a text names."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def write_plugin(document: str, folder: Path, version: str | None = None) -> Path:
    """The plugin of a document, as pip would leave it: its modules and a dist-info folder.

    `version` chooses among the pyproject files of the document; by default the last one.
    """
    pyprojects = []
    for name, content in files(document):
        if name == "pyproject.toml":
            pyprojects.append(tomllib.loads(content)["project"])
        else:
            (folder / name).write_text(content, encoding="utf-8")
    chosen = version or pyprojects[-1]["version"]
    project = next(p for p in pyprojects if p["version"] == chosen)
    dist_info = folder / f"{project['name'].replace('-', '_')}-{chosen}.dist-info"
    dist_info.mkdir()
    (dist_info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {chosen}\n", encoding="utf-8"
    )
    (dist_info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
            for group, entries in project["entry-points"].items()
        ),
        encoding="utf-8",
    )
    return folder


def run(arguments: Sequence[str], cwd: Path, plugin: Path | None = None) -> str:
    """Runs this interpreter with `plugin` beside what is installed; gives back its stdout."""
    # One thread: two that wait for each other crawl where other processes want the cores too.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if plugin is not None:
        environment["PYTHONPATH"] = str(plugin)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
