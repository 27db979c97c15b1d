"""Discovery. Distributions are faked by a folder with dist-info, each in its own process."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import zoo
from zoo import plugins, registry
from zoo.errors import PluginError, UnknownNameError

GOOD = """
import torch
from torch import nn
from zoo.colorizer import Colorizer, Info

class Good(Colorizer):
    info = Info({name!r}, "A good one", paper="none", license="MIT", interface={interface})

    def build(self):
        return nn.Conv2d(1, 2, 1)

    def forward(self, L):
        return self.net(L / 100)
"""
UNFINISHED = GOOD.split("    def forward")[0]


def good(name: str, interface: object = 1) -> str:
    return GOOD.format(name=name, interface=interface)


# name: (module text, part of the reason, or None where nothing is wrong)
FAKES: dict[str, tuple[str, str | None]] = {
    "fake_good": (good("fake_good"), None),
    "fake_import_error": ("import no_such_package", "ModuleNotFoundError: No module named"),
    "fake_assertion": ("assert 1 == 2, 'sums are off'", "AssertionError: sums are off"),
    "fake_exit": ("import sys; sys.exit('go away')", "SystemExit: go away"),
    "fake_exit_0": ("import sys; sys.exit(0)", "SystemExit"),
    "fake_syntax": ("def broken(:", "SyntaxError"),
    "fake_two_lines": ("raise RuntimeError('one\\ntwo')", "RuntimeError: one"),
    "fake_no_attribute": ("Other = 1", "AttributeError"),
    "fake_function": ("def Good(): pass", "is not a subclass of zoo.colorizer.Colorizer"),
    "fake_falsy": ("Good = 0", "is not a subclass of zoo.colorizer.Colorizer"),
    "fake_other_class": ("class Good: pass", "is not a subclass of zoo.colorizer.Colorizer"),
    "fake_other_name": (good("somebody_else"), "its info says 'somebody_else'"),
    "fake_future": (
        good("fake_future", 99),
        "interface 99, this zoo has 1; type pip install --upgrade colorizer-zoo",
    ),
    # Its hooks have other names, which is not what is said of it.
    "fake_past": (
        good("fake_past", 0).replace("def forward", "def _predict"),
        "interface 0, this zoo has 1; type pip install --upgrade dist-fake-past",
    ),
    "fake_version": (good("fake_version", "'1.0'"), "interface 1.0, this zoo has 1; write interf"),
    "fake_any": (good("fake_any", None), None),
    "fake_silent": (good("fake_silent").replace(", interface=1", ""), None),
    "fake_unfinished": (
        UNFINISHED.format(name="fake_unfinished", interface=1),
        "does not implement forward",
    ),
    "fake_no_info": (good("x").replace("info =", "other ="), "no class attribute info"),
    "fake_info_text": (
        good("x").replace("info = Info(", "info = 'words'; (lambda *_, **__: 0)("),
        "no class attribute info",
    ),
    "zz_last_good": (good("zz_last_good"), None),
}
BROKEN = [name for name, (_, reason) in FAKES.items() if reason]


def install(folder: Path, distribution: str, plugins: dict[str, str], text: str = "") -> None:
    """A distribution that registers `{name: target}`; `text` is its module's."""
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = [f"{name} = {target}" for name, target in plugins.items()]
    (info / "entry_points.txt").write_text("[zoo.colorizers]\n" + "\n".join(lines) + "\n")
    for target in plugins.values():
        (folder / f"{target.split(':')[0]}.py").write_text(text)


def python(code: str, folder: Path, cache: Path) -> dict:
    """What `code` leaves in `result`, run with `folder` on the path."""
    lines = ["import json, sys", textwrap.dedent(code), r"print('\n' + json.dumps(result))"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "ZOO_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return {"result": json.loads(done.stdout.splitlines()[-1]), "stderr": done.stderr}


LIST = """
from zoo import plugins
result = {p.name: [p.status, p.title, p.distribution] for p in plugins.installed("zoo.colorizers")}
"""


@pytest.fixture(scope="module")
def fakes(tmp_path_factory):
    """What a zoo with many broken plugins says of itself, before and after checking each."""
    folder, cache = (tmp_path_factory.mktemp(name) for name in ("fakes", "fakes-cache"))
    for name, (text, _) in FAKES.items():
        install(folder, f"dist-{name.replace('_', '-')}", {name: f"module_{name}:Good"}, text)
    for owner in ("dist-first", "dist-second"):
        target = f"module_{owner[5:]}:Good"
        install(folder, owner, {"fake_twice": target}, good("fake_twice"))
    before = python(LIST, folder, cache)["result"]
    checked = python(
        """
        import zoo
        from zoo import plugins, registry
        names = zoo.list_colorizers()
        errors = {}
        for name in names:
            try:
                zoo.load(name, device="cpu")
            except zoo.ZooError as error:
                errors[name] = [type(error).__name__, str(error)]
        statuses = {p.name: registry.check("zoo.colorizers", p.name).status
                    for p in plugins.installed("zoo.colorizers")}
        result = {"names": names, "errors": errors, "statuses": statuses,
                  "warm": registry.colorizers_with_option("temperature")}
        """,
        folder,
        cache,
    )
    after = python(LIST, folder, cache)["result"]
    return {"before": before, **checked["result"], "after": after, "stderr": checked["stderr"]}


def test_broken_plugins_are_left_out_where_an_option_is_looked_for(fakes):
    assert set(fakes["warm"]) >= {"zhang_classifier", "zhang_rebalanced"}
    assert not set(fakes["warm"]) & set(FAKES)
    assert registry.colorizers_with_option("no_such_option") == []


@pytest.mark.parametrize("name", FAKES)
def test_nothing_is_known_before_the_first_import(fakes, name):
    assert fakes["before"][name] == ["not checked", "", f"dist-{name.replace('_', '-')}"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_stays_listed_with_its_reason_on_one_line(fakes, name):
    reason = FAKES[name][1]
    kind, message = fakes["errors"][name]
    assert kind == "PluginError"
    assert name in message
    assert f"dist-{name.replace('_', '-')} 1.0" in message
    assert reason in message
    assert "\n" not in message
    assert name in fakes["names"]
    assert reason in fakes["statuses"][name]
    # And it is remembered for the next process, which imports nothing.
    assert reason in fakes["after"][name][0]


def test_a_broken_plugin_stops_no_other(fakes):
    usable = {*zoo.list_colorizers(), *(FAKES.keys() - BROKEN)}
    assert set(fakes["errors"]) == {*BROKEN, "fake_twice"}
    assert usable | {*BROKEN, "fake_twice"} == set(fakes["names"])
    for name in usable:
        assert fakes["statuses"][name] == "ok"
        status, title, _ = fakes["after"][name]
        assert status == "ok"
        assert title
    assert fakes["after"]["fake_good"][1] == "A good one"


def test_a_broken_plugin_prints_nothing(fakes):
    assert "Traceback" not in fakes["stderr"]


def test_a_name_taken_twice_names_both_owners(fakes):
    kind, message = fakes["errors"]["fake_twice"]
    assert kind == "PluginError"
    for text in (message, fakes["before"]["fake_twice"][0], fakes["after"]["fake_twice"][0]):
        assert "dist-first" in text
        assert "dist-second" in text


def test_the_status_is_forgotten_when_the_source_or_the_version_changes(tmp_path):
    folder, cache = tmp_path / "site", tmp_path / "cache"
    install(folder, "dist-mine", {"mine": "mine_module:Good"}, good("mine"))
    check = "from zoo import registry\nresult = registry.check('zoo.colorizers', 'mine').status"

    assert python(LIST, folder, cache)["result"]["mine"][0] == "not checked"
    assert python(check, folder, cache)["result"] == "ok"
    assert python(LIST, folder, cache)["result"]["mine"][:2] == ["ok", "A good one"]

    source = folder / "mine_module.py"
    later = source.stat().st_mtime + 10
    os.utime(source, (later, later))
    assert python(LIST, folder, cache)["result"]["mine"][:2] == ["not checked", ""]
    source.write_text("raise ValueError('now it is broken')")
    assert "now it is broken" in python(check, folder, cache)["result"]
    assert "now it is broken" in python(LIST, folder, cache)["result"]["mine"][0]

    metadata = folder / "dist_mine-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 1.1"))
    assert python(LIST, folder, cache)["result"]["mine"][0] == "not checked"
    # Only the newest of a plugin's statuses is kept.
    python(check, folder, cache)
    stored = json.loads((cache / "plugin-status.json").read_text())
    assert len([key for key in stored if "mine" in key]) == 1


def test_a_helper_module_of_the_plugins_package_counts_as_its_source(tmp_path):
    folder, cache = tmp_path / "site", tmp_path / "cache"
    package = folder / "mine_package"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text(good("mine"))
    helper = package / "deep" / "helper.py"
    helper.write_text("")
    install(folder, "dist-mine", {"mine": "mine_package:Good"})
    (folder / "mine_package.py").unlink()
    check = "from zoo import registry\nresult = registry.check('zoo.colorizers', 'mine').status"
    assert python(check, folder, cache)["result"] == "ok"
    assert python(LIST, folder, cache)["result"]["mine"][0] == "ok"
    later = helper.stat().st_mtime + 10
    os.utime(helper, (later, later))
    assert python(LIST, folder, cache)["result"]["mine"][0] == "not checked"


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": 1}', '{"a": ["b"]}', "null"])
def test_a_damaged_status_file_means_nothing_is_known(monkeypatch, tmp_path, content):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    (tmp_path / "plugin-status.json").write_text(content)
    assert {p.status for p in plugins.installed("zoo.colorizers")} == {"not checked"}


def test_names_are_listed_without_importing_torch_or_any_plugin(tmp_path):
    found = python(
        """
        import zoo
        from zoo import plugins, registry
        names = zoo.list_colorizers()
        for group in ("zoo.colorizers", "zoo.datasets", "zoo.metrics"):
            plugins.installed(group)
        heavy = ["torch", "timm", "skimage", "numpy", "PIL", "zoo_plugins", "zoo_datasets",
                 "zoo_benchmark", "zoo.colorizer"]
        result = {"names": names, "heavy": [name for name in heavy if name in sys.modules]}
        """,
        tmp_path,
        tmp_path,
    )["result"]
    assert found["names"] == zoo.list_colorizers()
    assert found["heavy"] == []


def test_names_are_sorted_and_unique():
    names = zoo.list_colorizers()
    assert names == sorted(set(names))
    assert names


@pytest.mark.parametrize("name", zoo.list_colorizers())
def test_a_near_name_is_suggested(name):
    typo = name[:-1] + "q"
    with pytest.raises(UnknownNameError, match="did you mean") as caught:
        zoo.load(typo)
    assert f"{typo!r}" in str(caught.value)
    assert f"{name!r}" in str(caught.value)


def test_a_name_that_is_near_to_nothing_gets_the_list():
    with pytest.raises(UnknownNameError) as caught:
        zoo.load("x")
    assert all(name in str(caught.value) for name in zoo.list_colorizers())


@pytest.mark.parametrize("group", ["zoo.colorizers", "zoo.datasets", "zoo.metrics"])
def test_all_that_is_installed_here_works(group):
    listed = plugins.installed(group)
    assert listed
    for plugin in listed:
        checked = registry.check(group, plugin.name)
        assert (checked.name, checked.status) == (plugin.name, "ok")
        assert checked.title
        assert checked.distribution == plugin.distribution


def test_checking_an_unknown_name_says_so():
    with pytest.raises(UnknownNameError, match="unknown colorizer"):
        registry.check("zoo.colorizers", "nobody")


def test_a_read_only_cache_stops_no_one(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file" / "below"))
    plugins.load_class.cache_clear()
    name = zoo.list_colorizers()[0]
    assert registry.colorizer_class(name).info.name == name
    assert registry.check("zoo.colorizers", name).status == "ok"


def test_a_broken_plugin_raises_every_time(monkeypatch):
    # Not only on the first call: failures are not cached as successes.
    monkeypatch.setattr(plugins, "_import", lambda group, name: 0)
    plugins.load_class.cache_clear()
    name = zoo.list_colorizers()[0]
    for _ in range(2):
        with pytest.raises(PluginError, match="not a subclass"):
            zoo.load(name)
    monkeypatch.undo()
    assert registry.colorizer_class(name).info.name == name
