"""What README and CONTRIBUTING tell of the zoo is so; `test_docs.py` tries their code."""

import json
import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from documents import (
    DOCUMENTS,
    ROOT,
    blocks,
    files,
    flags,
    help_texts,
    run,
    script,
    typed,
    write_plugin,
)

from zoo import plugins, registry
from zoo.testing import CHECKS

README, CONTRIBUTING = DOCUMENTS["README.md"], DOCUMENTS["CONTRIBUTING.md"]
METRICS, DATASETS = DOCUMENTS["docs/metrics.md"], DOCUMENTS["docs/datasets.md"]


def table_row(document, name):
    """The cells of the table row whose first cell is `name`, the table of results left out."""
    document = re.sub(
        r"<!-- headline table -->.*<!-- /headline table -->", "", document, flags=re.S
    )
    (row,) = re.findall(rf"^\| `{re.escape(name)}`.*\|$", document, re.MULTILINE)
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def own(group):
    """The names that this distribution registers, whatever else is installed."""
    return [p.name for p in plugins.installed(group) if p.distribution == "colorizer-zoo"]


# ---- the plugin of CONTRIBUTING -----------------------------------------------------------


def test_the_walk_has_a_first_version_and_one_with_everything():
    written = [tomllib.loads(c) for name, c in files(CONTRIBUTING) if name == "pyproject.toml"]
    first, second = (p["project"] for p in written)
    assert first["name"] == second["name"] == "my-colorizer"
    assert first["entry-points"] == {"zoo.colorizers": {"mine": "my_colorizer:Mine"}}
    modules = {Path(name).stem for name, _ in files(CONTRIBUTING) if name.endswith(".py")}
    modules -= {"test_mine"}
    entries = [t for group in second["entry-points"].values() for t in group.values()]
    assert {target.partition(":")[0] for target in entries} == modules
    assert set(second["entry-points"]) == {"zoo.colorizers", "zoo.datasets", "zoo.metrics"}


def test_the_first_module_is_about_twenty_lines():
    (module,) = [c for name, c in files(CONTRIBUTING) if name == "my_colorizer.py"]
    assert len([line for line in module.splitlines() if line.strip()]) <= 20


def test_the_readme_shows_the_same_plugin():
    first = {}
    for name, content in files(CONTRIBUTING):
        first.setdefault(name, content)
    assert first["my_colorizer.py"] in blocks(README, "python")


def test_the_first_version_is_listed_trains_and_gets_a_row(tmp_path):
    plugin = tmp_path / "my-colorizer"
    plugin.mkdir()
    write_plugin(CONTRIBUTING, plugin, "0.1.0")
    listed = json.loads(run(["-m", "zoo", "list", "--json"], tmp_path, plugin))
    (mine,) = [entry for entry in listed if entry["name"] == "mine"]
    assert (mine["distribution"], mine["version"]) == ("my-colorizer", "0.1.0")
    assert set(own(plugins.COLORIZERS)) < {entry["name"] for entry in listed}

    command = "-m zoo bench --models mine,grey --budget 3steps --no-throughput --metrics psnr"
    run([*command.split(), "--no-references", "--out", "results"], tmp_path, plugin)
    board = pd.read_csv(tmp_path / "results" / "leaderboard.csv").set_index("model")
    assert set(board.index) == {"mine", "grey"}
    assert (board["status"] == "ok").all()
    assert board["psnr"].between(5, 60).all()
    assert board.loc["mine", "params"] == (25 + 1) * 32 + (25 * 32 + 1) * 32 + (25 * 32 + 1) * 2
    runs = pd.read_csv(tmp_path / "results" / "runs.csv").set_index("model")
    assert runs.loc["mine", "cost_steps"] == 3


def test_the_first_version_is_checked_as_it_says(tmp_path):
    plugin = tmp_path / "my-colorizer"
    plugin.mkdir()
    write_plugin(CONTRIBUTING, plugin, "0.1.0")
    listed = run(["-m", "zoo", "check", "mine", "--only", "entry_point,sizes"], tmp_path, plugin)
    assert listed.splitlines()[-1] == "mine: 2 ok"


@pytest.mark.long
def test_the_first_version_passes_the_tests_it_is_given(tmp_path):
    plugin = tmp_path / "my-colorizer"
    plugin.mkdir()
    write_plugin(CONTRIBUTING, plugin, "0.1.0")
    tested = run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "."], plugin, plugin)
    assert f"{len(CHECKS) - 1} passed, 1 skipped" in tested or f"{len(CHECKS)} passed" in tested


@pytest.mark.long
def test_the_second_version_brings_options_a_dataset_and_a_metric(tmp_path):
    plugin = tmp_path / "my-colorizer"
    plugin.mkdir()
    write_plugin(CONTRIBUTING, plugin, "0.2.0")
    (command,) = [c for c in typed(CONTRIBUTING) if c[:2] == ["zoo", "bench"] and "sunsets" in c]
    quick = ["--budget", "3steps", "--no-throughput", "--no-references", "--out", "results"]
    run(["-m", *command, *quick], tmp_path, plugin)
    board = pd.read_csv(tmp_path / "results" / "leaderboard.csv").set_index("model")
    assert list(board["status"]) == ["ok"]
    assert board.loc["mine_wide", "params"] == (25 + 1) * 16 + (25 * 16 + 1) * 2
    scores = pd.read_csv(tmp_path / "results" / "scores.csv")
    errors = scores[scores["metric"] == "chroma_error"]
    assert len(errors) == 64
    # After three steps all is grey still, and random colours are far from that.
    assert 10 < errors["value"].mean() < 100
    options = json.loads(run(["-m", "zoo", "info", "mine_wide", "--json"], tmp_path, plugin))
    widths = [(o["paper"], o["small"]) for o in options["options"] if o["name"] == "width"]
    assert widths == [(128, 32)]


# ---- what the documents say of the zoo ----------------------------------------------------


def test_the_readme_names_every_command():
    named = {name for span in re.findall(r"`([^`\n]+)`", README) for name in span.split()}
    for command in help_texts():
        assert not command or f"`zoo {command.split()[0]}" in README
        assert set(command.split()) <= named, f"zoo {command}"


def test_the_page_of_commands_is_what_their_help_says(monkeypatch):
    page = DOCUMENTS["docs/commands.md"]
    made = script("commands", monkeypatch).command_page()
    assert page == made, "a help text has changed: type python docs/commands.py"
    sections = dict(re.findall(r"^## `zoo ?([^`]*)`\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    assert set(sections) == set(help_texts())
    for command, text in help_texts().items():
        own, _, _ = text.partition("Commands:")
        assert flags(own) - {"--help"} <= flags(sections[command]), f"zoo {command}"


@pytest.mark.parametrize("name", own(plugins.COLORIZERS))
def test_the_readme_gives_every_colorizer_and_its_parameters(name):
    cells = table_row(README, name)
    cls = registry.colorizer_class(name)
    for preset, cell in zip(("paper", "small"), cells[3:], strict=True):
        colorizer = cls(cls.preset(preset), device="cpu")
        colorizer.net = colorizer.build()
        assert f"{colorizer.parameter_count:,}" == cell, preset


@pytest.mark.parametrize("name", own(plugins.METRICS))
def test_the_documents_give_every_metric_its_unit_and_direction(name):
    info = registry.metric_class(name).info
    _, unit, direction, _ = table_row(METRICS, name)
    assert unit == info.unit
    assert direction == {"match": "nearest to the truth"}.get(info.direction, info.direction)


@pytest.mark.parametrize("name", own(plugins.DATASETS))
def test_the_documents_give_every_dataset_and_its_download(name):
    info = registry.dataset_class(name).info
    row = table_row(DATASETS, f"{name}:{info.argument}" if info.argument else name)
    assert row[2] == (info.download or "none") or info.download.startswith(f"{row[2]} for")


def test_the_embedded_photographs_are_credited():
    manifest = ROOT / "datasets" / "zoo_datasets" / "photos.json"
    for photo in json.loads(manifest.read_text(encoding="utf-8"))["photos"]:
        row = f"| [{photo['name']}]({photo['source']}) | {photo['credit']} | {photo['license']} |"
        assert row in DATASETS
