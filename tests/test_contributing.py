"""README and CONTRIBUTING keep their word: what they tell a reader to type works as it stands."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from zoo import registry
from zoo.testing import CHECKS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DOCUMENTS = {"README.md": README, "CONTRIBUTING.md": CONTRIBUTING}

both_documents = pytest.mark.parametrize("name", DOCUMENTS)


def files(document):
    """(name, content) of every block that follows a line with nothing but its file's name."""
    return re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)


def blocks(document, language):
    """The content of every block of a language, named or not."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)


def typed(document):
    """What the document tells a reader to type: lines of shell blocks and code in the text."""
    lines = [line for block in blocks(document, "sh") for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```$", "", document, flags=re.MULTILINE | re.DOTALL)
    return [shlex.split(text, comments=True) for text in lines] + [
        code.replace("…", "").split() for code in re.findall(r"`([^`\n]+)`", prose)
    ]


def table_row(document, name):
    """The cells of the table row whose first cell is `name`, the table of results left out."""
    document = re.sub(
        r"<!-- headline table -->.*<!-- /headline table -->", "", document, flags=re.S
    )
    (row,) = re.findall(rf"^\| `{re.escape(name)}`.*\|$", document, re.MULTILINE)
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def own(group):
    """The names that this distribution registers, whatever else is installed."""
    return [p.name for p in registry.installed(group) if p.distribution == "colorizer-zoo"]


def write_plugin(folder, version):
    """The plugin of CONTRIBUTING, as pip would leave it: its modules and a dist-info folder.

    `version` chooses among the pyproject files of the walk.
    """
    pyprojects = []
    for name, content in files(CONTRIBUTING):
        if name == "pyproject.toml":
            pyprojects.append(tomllib.loads(content)["project"])
        else:
            (folder / name).write_text(content, encoding="utf-8")
    project = next(p for p in pyprojects if p["version"] == version)
    dist_info = folder / f"{project['name'].replace('-', '_')}-{version}.dist-info"
    dist_info.mkdir()
    (dist_info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {version}\n", encoding="utf-8"
    )
    (dist_info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
            for group, entries in project["entry-points"].items()
        ),
        encoding="utf-8",
    )
    return folder


def run(arguments, cwd, plugin=None):
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


@pytest.fixture(scope="module")
def help_texts():
    """The help of `zoo` (under the empty name) and of each of its commands, nested ones too."""
    return help_of("")


def help_of(command):
    """The help of a command, such as `weights` or `weights list`, and of all below it."""
    text = run(["-m", "zoo", *command.split(), "--help"], ROOT)
    below = re.findall(r"^  ([\w-]+) ", text.partition("Commands:")[2], re.MULTILINE)
    texts = {command: text}
    for name in below:
        texts |= help_of(f"{command} {name}".strip())
    return texts


def flags(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


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
    shown = dict(files(README))
    assert set(shown) == {"pyproject.toml", "my_colorizer.py"}
    assert all(first[name] == content for name, content in shown.items())


def test_the_first_version_is_listed_trains_and_gets_a_row(tmp_path):
    plugin = tmp_path / "my-colorizer"
    plugin.mkdir()
    write_plugin(plugin, "0.1.0")
    listed = json.loads(run(["-m", "zoo", "list", "--json"], tmp_path, plugin))
    (mine,) = [entry for entry in listed if entry["name"] == "mine"]
    assert (mine["distribution"], mine["version"]) == ("my-colorizer", "0.1.0")
    assert set(own(registry.COLORIZERS)) < {entry["name"] for entry in listed}

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
    write_plugin(plugin, "0.1.0")
    listed = run(["-m", "zoo", "check", "mine", "--only", "entry_point,sizes"], tmp_path, plugin)
    assert listed.splitlines()[-1] == "mine: 2 ok"


@pytest.mark.long
def test_the_first_version_passes_the_tests_it_is_given(tmp_path):
    plugin = tmp_path / "my-colorizer"
    plugin.mkdir()
    write_plugin(plugin, "0.1.0")
    tested = run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "."], plugin, plugin)
    assert f"{len(CHECKS) - 1} passed, 1 skipped" in tested or f"{len(CHECKS)} passed" in tested


def test_the_second_version_brings_options_a_dataset_and_a_metric(tmp_path):
    plugin = tmp_path / "my-colorizer"
    plugin.mkdir()
    write_plugin(plugin, "0.2.0")
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


@both_documents
def test_python_blocks_compile(name):
    assert blocks(DOCUMENTS[name], "python")
    for block in blocks(DOCUMENTS[name], "python"):
        compile(block, name, "exec")


def test_the_readmes_python_example_runs(tmp_path):
    named = {content for _, content in files(README)}
    examples = [block for block in blocks(README, "python") if block not in named]
    assert examples
    for example in examples:
        run(["-c", example], tmp_path)
    assert (tmp_path / "mine.safetensors").stat().st_size > 1_000_000


@both_documents
def test_commands_and_their_options_exist(name, help_texts):
    used = [words for words in typed(DOCUMENTS[name]) if words]
    commands = [words for words in used if Path(words[0]).name == "zoo" and len(words) > 1]
    assert commands
    for _, *words in commands:
        if words[0] == "COMMAND":
            continue
        command, arguments = "", words
        while "Commands:" in help_texts[command] and arguments and arguments[0][0] != "-":
            command, arguments = f"{command} {arguments[0]}".strip(), arguments[1:]
            assert command in help_texts, f"there is no zoo {command}"
        offered = flags(help_texts[command]) | set(
            re.findall(r"(?<!\S)-[a-z]\b", help_texts[command])
        )
        missing = {a for a in arguments if a.startswith("-")} - offered
        assert not missing, f"zoo {command} has no {missing}"
    alone = {words[0] for words in used if words[0].startswith("--")}
    assert alone <= {flag for text in help_texts.values() for flag in flags(text)}


def test_the_readme_names_every_command_and_option(help_texts):
    for command, text in help_texts.items():
        assert f"`zoo {command}" in README
        unnamed = flags(text) - flags(README)
        assert unnamed <= {"--throughput"}, f"zoo {command}"


@both_documents
def test_make_targets_exist(name):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    used = [words for words in typed(DOCUMENTS[name]) if words and words[0] == "make"]
    assert used
    for words in used:
        named = {word for word in words[1:] if re.fullmatch(r"[a-z][a-z-]*", word)}
        assert named <= set(targets), words


@both_documents
def test_links_lead_somewhere(name):
    document = DOCUMENTS[name]
    headings = re.findall(r"^#+ (.*)$", document, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)", document):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (ROOT / target).exists(), target


@pytest.mark.parametrize("name", own(registry.COLORIZERS))
def test_the_readme_gives_every_colorizer_and_its_parameters(name):
    cells = table_row(README, name)
    cls = registry.colorizer_class(name)
    for preset, cell in zip(("paper", "small"), cells[3:], strict=True):
        colorizer = cls(cls.preset(preset), device="cpu")
        colorizer.net = colorizer.build()
        assert f"{colorizer.parameter_count:,}" == cell, preset


@pytest.mark.parametrize("name", own(registry.METRICS))
def test_the_readme_gives_every_metric_its_unit_and_direction(name):
    info = registry.metric_class(name).info
    _, unit, direction, _ = table_row(README, name)
    assert unit == info.unit
    assert direction == {"match": "nearest to the truth"}.get(info.direction, info.direction)


@pytest.mark.parametrize("name", own(registry.DATASETS))
def test_the_readme_gives_every_dataset_and_its_download(name):
    info = registry.dataset_class(name).info
    row = table_row(README, f"{name}:{info.argument}" if info.argument else name)
    assert row[2] == (info.download or "none") or info.download.startswith(f"{row[2]} for")


def test_the_embedded_photographs_are_credited():
    manifest = ROOT / "datasets" / "zoo_datasets" / "photos.json"
    for photo in json.loads(manifest.read_text(encoding="utf-8"))["photos"]:
        row = f"| [{photo['name']}]({photo['source']}) | {photo['credit']} | {photo['licence']} |"
        assert row in README
