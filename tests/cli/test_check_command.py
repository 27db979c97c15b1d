"""`zoo check`, and the warnings of `zoo list --verbose`."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zoo import plugins, registry
from zoo.cli import probe
from zoo.testing import CHECKS

Zoo = Callable[..., Any]

PLUGIN = """
from torch import nn
import torch.nn.functional as F
from zoo.colorizer import Colorizer, Info
{at_import}

class Plugin(Colorizer):
    info = Info(name="{name}", title="{name} works", paper="none", license="MIT")

    def build(self):
        return nn.Conv2d(1, 2, 1)

    def forward(self, L):
        return {predict}

    def loss(self, L, ab):
        return F.mse_loss(self.net(L / 100), ab / 110)
"""
GOOD = "self.net(L / 100)"


def _install(folder: Path, modules: dict[str, str]) -> dict[str, str]:
    """A distribution with a plugin for each module, and the variables under which it is found."""
    info = folder / "others-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    lines = [f"{name} = {name}:Plugin" for name in modules]
    (info / "entry_points.txt").write_text("\n".join(["[zoo.colorizers]", *lines, ""]))
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    return {"PYTHONPATH": str(folder), "ZOO_CACHE": str(folder / "cache")}


@pytest.fixture
def floor() -> str:
    """A colorizer that is checked quickly and knows of failures."""
    infos = {name: registry.colorizer_class(name).info for name in registry.list_colorizers()}
    return next(name for name, info in infos.items() if info.floor and info.known_failures)


def test_all_checks_are_listed_with_their_reasons(zoo: Zoo, floor: str) -> None:
    answer = zoo("check", floor)
    assert answer.code == 0
    assert all(f"\n{check} " in f"\n{answer.stdout}" for check in CHECKS)
    for reason in registry.colorizer_class(floor).info.known_failures.values():
        assert reason in answer.stdout
    count = len(registry.colorizer_class(floor).info.known_failures)
    assert f"{count} known failure" in answer.stdout.splitlines()[-1]
    assert answer.stderr == ""


def test_a_selection_as_json(zoo: Zoo, floor: str) -> None:
    answer = zoo("check", floor, "--only", "sizes,info", "--json")
    assert answer.code == 0
    found = json.loads(answer.stdout)
    assert {outcome["check"]: outcome["status"] for outcome in found} == {
        "info": "ok",
        "sizes": "ok",
    }
    assert found[0]["promise"] == CHECKS["info"].promise


def test_the_promises_are_listed(zoo: Zoo) -> None:
    answer = zoo("check", "--list")
    assert answer.code == 0
    assert all(check.promise in answer.stdout for check in CHECKS.values())
    assert [c["check"] for c in json.loads(zoo("check", "--list", "--json").stdout)] == [*CHECKS]


def test_a_wrong_plugin_is_told_and_the_code_is_1(
    zoo_process: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    wrong = PLUGIN.format(
        name="wrong", at_import="", predict="print('busy') or self.net(L / 100) + L.mean()"
    )
    variables = _install(tmp_path / "site", {"wrong": wrong})
    done = zoo_process(
        "-m", "zoo", "check", "wrong", "--only", "batch_mates,info", variables=variables
    )
    assert done.returncode == 1, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("batch_mates")]
    assert "FAILED" in line
    assert CHECKS["batch_mates"].promise in line
    assert "What to do: use nothing of the batch" in line
    assert done.stdout.splitlines()[-1] == "wrong: 1 ok, 1 failed"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nobody"], "unknown colorizer 'nobody'"),
        ([], "zoo check NAME"),
        (["FLOOR", "--only", "size"], "unknown check 'size': did you mean 'sizes'"),
        (["FLOOR", "--device", "tpu"], "unknown device 'tpu'"),
    ],
)
def test_mistakes_are_one_line(zoo: Zoo, floor: str, arguments: list[str], says: str) -> None:
    answer = zoo("check", *(floor if a == "FLOOR" else a for a in arguments))
    assert answer.code == 2
    assert answer.stdout == ""
    assert says in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_a_broken_plugin_is_one_line(
    zoo_process: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    variables = _install(tmp_path / "site", {"torn": "raise RuntimeError('torn apart')"})
    done = zoo_process("-m", "zoo", "check", "torn", variables=variables)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "RuntimeError: torn apart" in done.stderr


# ---- imports that do more than importing --------------------------------------------------------


@pytest.mark.long
def test_what_an_import_does_is_told_and_harms_no_other(
    zoo: Zoo,
    zoo_process: Callable[..., subprocess.CompletedProcess[str]],
    floor: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_import = {
        "noisy": "import atexit, sys; print('hello'); sys.stdout.buffer.write(b'\\xff\\n')\n"
        "atexit.register(print, 'goodbye')",
        "raw": "import os; os.write(1, b'\\n\\nraw words\\n')",
        "meddles": "import random, numpy, torch\n"
        "random.seed(0); numpy.random.seed(0); torch.manual_seed(5)\n"
        "torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False)\n"
        "torch.set_num_threads(torch.get_num_threads() + 1)\n"
        "torch.use_deterministic_algorithms(True)",
    }
    works = {
        name: PLUGIN.format(name=name, at_import=text, predict=GOOD)
        for name, text in at_import.items()
    }
    broken = {
        "dies": "import os; os._exit(9)",
        "asserts": "print('before'); assert False, 'not today'",
        "elsewhere": "Plugin = int",
    }
    variables = _install(tmp_path / "site", works | broken)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(tmp_path / "site")
    built_in = {*registry.list_colorizers(), *registry.list_file_colorizers()}
    assert {*works, *broken, *built_in} == {
        plugin["name"] for plugin in json.loads(zoo("list", "--json").stdout)
    }
    # One of the built-in colorizers will do here: the next test has them all.
    mine = [p for p in plugins.installed(plugins.COLORIZERS) if p.distribution == "others"]
    one = [p for p in plugins.installed(plugins.COLORIZERS) if p.name == floor]
    monkeypatch.setattr(plugins, "installed", lambda _: [*mine, *one])
    answer = zoo("list", "--verbose", "--json")
    assert answer.code == 0, answer.stderr
    listed = {plugin["name"]: plugin for plugin in json.loads(answer.stdout)}
    assert set(listed) == {*works, *broken, floor}
    # How long an import takes depends on what else the machine does.
    warnings = {
        name: "; ".join(w for w in plugin["warnings"] if "to import" not in w)
        for name, plugin in listed.items()
    }
    assert warnings["noisy"] == "prints when imported: 'hello'"
    assert warnings["raw"] == "prints when imported: 'raw words'"
    for change in (
        *("changes global state when imported: ", "torch's random", "NumPy's random"),
        *("Python's random", "default dtype (torch.float32 before, torch.float64 after)"),
        *("gradient mode (True before, False after)", "threads (", "deterministic algorithms ("),
    ):
        assert change in warnings["meddles"]
    assert "code 9" in listed["dies"]["status"]
    assert "AssertionError: not today" in listed["asserts"]["status"]
    assert "not a subclass" in listed["elsewhere"]["status"]
    for name in (*works, floor):
        assert listed[name]["status"] == "ok"
        assert listed[name]["title"]
    assert warnings[floor] == ""
    info = zoo_process("-m", "zoo", "info", "noisy", "--json")
    assert info.stdout.startswith("{")


def test_what_is_built_in_does_nothing_but_import(
    zoo_process: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    program = (
        "import json; from zoo import plugins, registry; from zoo.cli.probe import probe\n"
        "found = [probe(plugins.COLORIZERS, name) for name in registry.list_colorizers()]\n"
        "print(json.dumps({p.name: [p.status, *p.warnings] for p in found}))"
    )
    done = zoo_process("-c", program)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {*registry.list_colorizers()}
    for status, *warnings in found.values():
        # How long an import takes depends on what else the machine does.
        assert (status, [w for w in warnings if "to import" not in w]) == ("ok", [])


def test_the_table_shows_the_warnings_behind_ok(
    monkeypatch: pytest.MonkeyPatch, zoo: Zoo, floor: str
) -> None:
    from zoo.cli import listing

    told = {"status": "ok", "title": "A floor", "warnings": ("prints when imported: 'x'",)}
    monkeypatch.setattr(listing, "_check_one", lambda *_: told)
    assert "ok; prints when imported: 'x'" in zoo("list", "--verbose").stdout


def test_a_slow_import_is_told(monkeypatch: pytest.MonkeyPatch, floor: str) -> None:
    check = registry.check

    def slow(group: str, name: str) -> plugins.Plugin:
        time.sleep(0.2)
        return check(group, name)

    monkeypatch.setattr(registry, "check", slow)
    [warning] = probe.probe(plugins.COLORIZERS, floor, slow_seconds=0.1).warnings
    assert warning.startswith("takes ")
    assert warning.endswith(" s to import")
    assert probe.probe(plugins.COLORIZERS, floor, slow_seconds=1000).warnings == ()


def test_a_long_line_is_cut_and_stdout_comes_back(
    monkeypatch: pytest.MonkeyPatch, floor: str, capfd: pytest.CaptureFixture[str]
) -> None:
    check = registry.check

    def chatter(group: str, name: str) -> plugins.Plugin:
        os.write(1, b"a" * 500)
        return check(group, name)

    monkeypatch.setattr(registry, "check", chatter)
    [warning] = probe.probe(plugins.COLORIZERS, floor, slow_seconds=1000).warnings
    assert warning == f"prints when imported: '{'a' * 60}…'"
    os.write(1, b"back")
    assert capfd.readouterr().out == "back"
