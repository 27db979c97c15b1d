"""`zoo weights`, typed, with strangers' distributions beside the zoo."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from zoo.registry import load
from zoo.weights.file import Origin

Zoo = Callable[..., Any]

BODY = np.random.default_rng(0).bytes(50_000)
HASH = hashlib.sha256(BODY).hexdigest()
NAME = f"net-{HASH[:8]}.pth"
WEIGHTS = """
[[weights]]
name = "{name}"
model = "{model}"
url = "{url}"
{pin}
license = "CC-BY-4.0"
source = "https://example.org/tiny"
trained_on = "{trained_on}"
"""


def table(
    url: str, name: str = "v1", model: str = "tiny", pin: str = "", trained_on: str = "CIFAR-10"
) -> str:
    return WEIGHTS.format(
        name=name, model=model, url=url, pin=pin or f'sha256 = "{HASH}"', trained_on=trained_on
    )


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Installs a distribution that publishes weights, as pip would leave it; gives its package.

    Importing anything of it fails: what it publishes is read without that.
    """
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))

    def write(distribution: str, manifest: str | bytes | None, target: str = "") -> Path:
        package = distribution.replace("-", "_")
        folder = site / package / "nets"
        folder.mkdir(parents=True)
        for module in (site / package / "__init__.py", folder / "__init__.py"):
            module.write_text("raise SystemExit('imported')\n")
        if isinstance(manifest, str):
            manifest = manifest.encode()
        if manifest is not None:
            (folder / "weights.toml").write_bytes(manifest)
        info = site / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(
            f"[zoo.weights]\n{package} = {target or f'{package}.nets'}\n"
        )
        return folder

    return write


@pytest.fixture
def stranger(file_server: Any, install: Callable[..., Path]) -> Any:
    """The server with the file that an installed stranger publishes as tiny@v1."""
    file_server.files[NAME] = BODY
    install("tiny-net", table(file_server.url(NAME)))
    return file_server


def listed(zoo: Zoo) -> dict[str, Any]:
    rows = json.loads(zoo("weights", "list", "--json").stdout)
    return {f"{row['model']}@{row['name']}": row for row in rows}


# ---- list ---------------------------------------------------------------------------------


def test_a_stranger_is_listed_beside_the_zoos_own(zoo_process: Zoo, stranger: Any) -> None:
    done = zoo_process("-m", "zoo", "weights", "list", "--json")
    assert done.returncode == 0, done.stderr
    rows = {f"{row['model']}@{row['name']}": row for row in json.loads(done.stdout)}
    assert {"tiny@v1", "zhang_rebalanced@eccv16"} <= rows.keys()
    row = rows["tiny@v1"]
    assert (row["distribution"], row["license"]) == ("tiny-net", "CC-BY-4.0")
    assert (row["status"], row["sha256"], row["file"]) == ("not fetched", HASH, None)


def test_the_table_is_whole_in_a_pipe(
    zoo_process: Zoo, install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    trained_on = " and ".join(f"photographs of collection {number}" for number in range(20))
    url = f"https://example.org/{NAME}"
    install("tiny-net", table(url, "v" + 80 * "1", "tiny" + 80 * "y", trained_on=trained_on))
    done = zoo_process("-m", "zoo", "weights", "list")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "tinyy" in line]
    cells = ("tiny" + 80 * "y", "v" + 80 * "1", "not fetched", "CC-BY-4.0", trained_on, "tiny-net")
    assert all(cell in line for cell in cells)


def test_it_imports_neither_torch_nor_a_plugin(zoo_process: Zoo, stranger: Any) -> None:
    program = (
        "import sys; from zoo.cli.main import main; code = main(); sys.stdout.flush();"
        "print(sorted({'torch', 'numpy', 'stevedore', 'tiny_net', 'zoo_plugins'}"
        " & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    done = zoo_process("-c", program, "weights", "list")
    assert done.returncode == 0
    assert "tiny-net" in done.stdout
    assert done.stderr.strip() == "[]"


BROKEN: dict[str, tuple[str | bytes | None, str]] = {
    "no file": (None, "there is no "),
    "no TOML": ("[[weights", "cannot be read: "),
    "no text": (b"\xff\xfe\x00", "cannot be read: "),
    "no tables": ('weights = "v1"', "must hold tables [[weights]] and nothing else"),
    "something else": ("[colorizers]\n[[weights]]\n", "nothing else, not colorizers"),
    "empty": ("", "must hold tables [[weights]]"),
    "lacks keys": ('[[weights]]\nname = "v1"\nmodel = "tiny"', "number 1: it lacks url, license"),
    "unknown key": (table("https://example.org/x", pin="hash = 1"), "unknown keys hash; known are"),
    "no hash": (table("https://example.org/x", pin="size = 1"), "one of sha256 and sha256_prefix"),
    "no TLS": (table("http://example.org/x"), "is no https URL"),
    "wrong kind": (
        table("https://example.org/x", pin=f'sha256 = "{HASH}"\nsize = true'),
        "size must be a whole number, got True",
    ),
    "mirror of a wrong kind": (
        table("https://example.org/x", pin=f'sha256 = "{HASH}"\nmirrors = "x"'),
        "mirrors must be a list of URLs, got 'x'",
    ),
    "twice": (2 * table("https://example.org/x"), "2 are published under this name, by fau"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_one_is_stated_and_harms_no_other(
    fault: str, zoo: Zoo, stranger: Any, install: Callable[..., Path]
) -> None:
    manifest, reason = BROKEN[fault]
    if isinstance(manifest, str):
        manifest = manifest.replace('model = "tiny"', 'model = "faulty"')
    install("faulty-net", manifest)
    rows = json.loads(zoo("weights", "list", "--json").stdout)
    broken = [row for row in rows if row["distribution"] == "faulty-net"]
    assert len(broken) == (2 if fault == "twice" else 1)
    assert all(row["status"].startswith("broken: ") for row in broken)
    assert all(reason in row["status"] for row in broken)
    others = {row["name"]: row["status"] for row in rows if row["distribution"] != "faulty-net"}
    assert others.pop("release") == "bundled"
    assert {"v1", "eccv16", "siggraph17", "paper_tiny"} < others.keys()
    assert set(others.values()) == {"not fetched"}
    answer = zoo("weights", "list")
    assert answer.code == 0
    assert reason in answer.stdout
    assert zoo("weights", "fetch", "tiny@v1").code == 0


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("no_such_package", "there is no package no_such_package"),
        ("faulty_net.nets:Net", "must name a package"),
        ("base64", "base64 is a module; a weights.toml lies in a package"),
        ("faulty_net.absent", "there is no "),
    ],
)
def test_an_entry_point_that_leads_nowhere(
    target: str, reason: str, zoo: Zoo, install: Callable[..., Path]
) -> None:
    install("faulty-net", "", target)
    rows = json.loads(zoo("weights", "list", "--json").stdout)
    (row,) = [row for row in rows if row["distribution"] == "faulty-net"]
    assert (row["model"], row["name"]) == ("", "faulty_net")
    assert row["status"].startswith("broken: ")
    assert reason in row["status"]


def test_good_tables_beside_a_bad_one_stay(zoo: Zoo, install: Callable[..., Path]) -> None:
    url = "https://example.org/x"
    install("tiny-net", table(url) + table(url, "v2", pin="size = 1") + table(url, "v3"))
    status = {label: row["status"] for label, row in listed(zoo).items()}
    assert status["tiny@v1"] == status["tiny@v3"] == "not fetched"
    assert status["tiny@v2"].startswith("broken: ")
    answer = zoo("weights", "fetch", "v2")
    assert answer.code == 2
    assert "the weights v2 are broken: " in answer.stderr
    assert "the weights tiny@v2 are broken: " in zoo("weights", "where", "tiny@v2").stderr


# ---- fetch, verify, where -----------------------------------------------------------------


def test_fetch_verify_where(zoo: Zoo, stranger: Any, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "weights"
    assert zoo("weights", "where").stdout == f"{folder}\n"
    missing = zoo("weights", "where", "v1")
    assert (missing.code, missing.stdout) == (1, "")
    assert missing.stderr == "tiny@v1 is not fetched; type zoo weights fetch tiny@v1\n"
    answer = zoo("weights", "verify")
    assert (answer.code, answer.stdout, answer.stderr) == (0, "", "nothing is fetched\n")

    answer = zoo("weights", "fetch", "v1")
    path = folder / "tiny" / "v1" / NAME
    assert (answer.code, answer.stderr) == (0, "")
    assert answer.stdout == f"tiny@v1 (fetched): {path}\n"
    assert zoo("weights", "where", "tiny@v1").stdout == f"{path}\n"
    assert path.read_bytes() == BODY
    row = listed(zoo)["tiny@v1"]
    assert (row["status"], row["file"]) == ("fetched", str(path))
    assert zoo("weights", "verify").stdout == f"tiny@v1 (ok): {path}\n"

    path.write_bytes(BODY[::-1])
    answer = zoo("weights", "verify")
    assert (answer.code, answer.stdout) == (1, "")
    assert "tiny@v1 is damaged" in answer.stderr
    assert answer.stderr.endswith("; type zoo weights fetch tiny@v1\n")
    assert listed(zoo)["tiny@v1"]["status"] == "damaged"
    assert zoo("weights", "where", "v1").code == 1
    assert zoo("weights", "fetch", "v1").code == 0
    assert zoo("weights", "verify", "v1").code == 0


def test_a_prefix_is_shown(zoo: Zoo, file_server: Any, install: Callable[..., Path]) -> None:
    file_server.files[NAME] = BODY
    install("tiny-net", table(file_server.url(NAME), pin=f'sha256_prefix = "{HASH[:8]}"'))
    assert "tiny@v1 (fetched, prefix-pinned): " in zoo("weights", "fetch", "v1").stdout
    assert listed(zoo)["tiny@v1"]["status"] == "fetched, prefix-pinned"
    assert "fetched, prefix-pinned" in zoo("weights", "list").stdout


def test_a_name_of_two_models_is_refused_with_the_choices(
    zoo: Zoo, stranger: Any, install: Callable[..., Path]
) -> None:
    install("other-net", table(stranger.url(NAME), model="other"))
    answer = zoo("weights", "fetch", "v1")
    assert answer.code == 2
    assert "several models have weights called 'v1': type other@v1 or tiny@v1" in answer.stderr
    assert not stranger.requests
    assert zoo("weights", "fetch", "other@v1", "tiny@v1", "tiny@v1").code == 0
    assert len(stranger.requests) == 2


def test_all_goes_on_past_a_failure(zoo: Zoo, stranger: Any, install: Callable[..., Path]) -> None:
    install("gone-net", table(stranger.url("gone.pth"), model="gone"))
    answer = zoo("weights", "fetch", "gone@v1", "tiny@v1")
    assert answer.code == 1
    assert answer.stdout.startswith("tiny@v1 (fetched): ")
    assert answer.stderr.startswith(f"error: downloading {stranger.url('gone.pth')} failed (Not")
    answer = zoo("weights", "fetch", "--all", "--offline")
    assert answer.code == 1
    fetched = [line for line in answer.stdout.splitlines() if "@release (bundled): " not in line]
    assert fetched[0].startswith("tiny@v1 (fetched): ")
    assert all(label in answer.stderr for label in ("gone@v1", "zhang_rebalanced@eccv16"))
    rows = json.loads(zoo("weights", "list", "--json").stdout)
    missing = [row["name"] for row in rows if row["status"] == "not fetched"]
    assert len(answer.stderr.splitlines()) == len(missing)


def test_from_and_mirror(zoo: Zoo, stranger: Any, tmp_path: Path) -> None:
    source = tmp_path / "mine.pth"
    source.write_bytes(BODY)
    answer = zoo("weights", "fetch", "v1", "--from", str(source), "--offline")
    assert (answer.code, stranger.requests) == (0, [])
    source.write_bytes(b"something else")
    answer = zoo("weights", "fetch", "v1", "--from", str(source))
    assert answer.code == 1
    assert f"{source} has SHA-256" in answer.stderr

    Path(zoo("weights", "where", "v1").stdout.strip()).unlink()
    stranger.files[f"near/{NAME}"] = stranger.files.pop(NAME)
    assert zoo("weights", "fetch", "v1", "--mirror", stranger.url("near")).code == 0
    assert [path for path, _ in stranger.requests] == [f"near/{NAME}"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "name the weights to fetch, or type --all"),
        (["v1", "--all"], "name the weights to fetch, or type --all"),
        (["v1", "eccv16", "--from", "x"], "--from is one file, but 2 weights are to be fetched"),
        (["v9"], "unknown published weights 'v9'"),
    ],
)
def test_wrong_requests_are_one_line(
    arguments: list[str], reason: str, zoo: Zoo, stranger: Any
) -> None:
    answer = zoo("weights", "fetch", *arguments)
    assert (answer.code, answer.stdout) == (2, "")
    assert reason in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert not stranger.requests


# ---- convert --------------------------------------------------------------------------------


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A narrow network as the authors' public release would hold it."""
    import torch

    from zoo.registry import colorizer_class

    cls = colorizer_class("zhang_rebalanced")
    net = cls(decoder="release", temperature=1.0, width=0.25).build()
    torch.save(net.state_dict(), tmp_path / "release.pth")
    return tmp_path / "release.pth"


def test_convert(zoo: Any, release: Path) -> None:
    import zoo as api

    command = ("weights", "convert", str(release), "--model", "zhang_rebalanced")
    answer = zoo(*command, "-o", "x.safetensors")
    assert answer.code == 0, answer.stderr
    assert answer.stdout == "zhang_rebalanced, license unknown: x.safetensors\n"
    assert "say it with --license" in answer.stderr
    converted = api.load("zhang_rebalanced", "x.safetensors", device="cpu", precision="fp32")
    original = api.load("zhang_rebalanced", release, device="cpu", precision="fp32")
    grey = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    assert np.array_equal(converted.predict(grey), original.predict(grey))

    named = ("--license", "CC0-1.0", "--source", "https://example.org", "--overwrite")
    answer = zoo(*command, "-o", "x.safetensors", *named)
    assert (answer.code, answer.stderr) == (0, "")
    again = api.load("zhang_rebalanced", "x.safetensors", device="cpu")
    assert again.origin is not None
    assert (again.origin.license, again.origin.source) == ("CC0-1.0", "https://example.org")


def test_what_cannot_be_converted_is_one_line(zoo: Any, release: Path) -> None:
    Path("there.safetensors").write_bytes(b"mine")
    file = str(release)
    for arguments, part in (
        ((file, "--model", "fc_generator", "-o", "x.safetensors"), "knows no other format"),
        ((file, "--model", "zhang_rebalance", "-o", "x.safetensors"), "did you mean"),
        ((file, "--model", "zhang_rebalanced", "-o", "x.pth"), "is not a .safetensors"),
        ((file, "--model", "zhang_rebalanced", "-o", "there.safetensors"), "is there already"),
        (("none.pth", "--model", "zhang_rebalanced", "-o", "x.safetensors"), "no weights at none"),
    ):
        answer = zoo("weights", "convert", *arguments)
        assert answer.code == 2, arguments
        assert part in answer.stderr
        assert len(answer.stderr.strip().splitlines()) == 1
    assert [p.name for p in Path.cwd().iterdir()] == ["there.safetensors"]
    assert Path("there.safetensors").read_bytes() == b"mine"


def test_a_manifest_that_is_hostile_stops_no_other(zoo: Zoo, install: Callable[..., Path]) -> None:
    install("deep-net", "x = " + "[" * 100_000)
    url = "https://example.org/x"
    install("tiny-net", b"\xef\xbb\xbf" + table(url).replace("MIT", "M\\u001b[31mIT").encode())
    answer = zoo("weights", "list")
    assert answer.code == 0
    assert "nested too deep" in answer.stdout
    assert "tiny" in answer.stdout
    assert "\x1b" not in answer.stdout + answer.stderr
    answer = zoo("weights", "fetch", "\x1b]0;x\x07")
    assert "\x1b" not in answer.stderr


def test_the_card_says_whose_weights_they_are(zoo: Zoo, tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    colorizer = load("zhang_classifier", device="cpu", width=0.125, batch_size=2)
    images = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8)
    colorizer.fit(images, budget="1steps")
    colorizer.origin = Origin("CC-BY-4.0", trained_on="noise | of mine: all")
    colorizer.save(file)
    answer = zoo("weights", "card", str(file))
    assert answer.code == 0, answer.stderr
    text = (tmp_path / "README.md").read_text()
    front, body = text.removeprefix("---\n").split("\n---\n", 1)
    said = yaml.safe_load(front)
    assert (said["license"], said["library_name"]) == ("cc-by-4.0", "colorizer-zoo")
    assert said["tags"] == ["colorization", "colorizer-zoo", "zhang_classifier"]
    assert "model-index" not in said
    assert "| trained on | noise \\| of mine: all |" in body
    assert "| spent | 1 steps, " in body
    assert "| `width` | `0.125` |" in body
    assert 'zoo.load("zhang_classifier", weights="hf:OWNER/REPOSITORY")' in body
    assert "README.md is there already" in zoo("weights", "card", str(file)).stderr
    assert zoo("weights", "card", str(file), "--overwrite").code == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none.safetensors", "there are no weights at"),
        ("other.pth", "was not written by the zoo; type zoo weights convert"),
        ("bad.safetensors", "is not a readable safetensors file"),
    ],
)
def test_no_card_of_what_is_no_file_of_the_zoo(
    name: str, reason: str, zoo: Zoo, tmp_path: Path
) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"bad")
    answer = zoo("weights", "card", str(tmp_path / name))
    assert answer.code != 0
    assert reason in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
