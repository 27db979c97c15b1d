"""A stranger's package beside the zoo, in a fresh environment, with nothing changed here."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from documents import DOCUMENTS, files
from PIL import Image
from typing_in import PRESUMED

from zoo import registry

pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Environment:
    """A virtual environment and an empty folder to type commands in."""

    root: Path
    cwd: Path

    def run(self, program: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        return subprocess.run(
            [str(self.root / "bin" / program), *arguments],
            cwd=self.cwd,
            env=variables | {"ZOO_CACHE": str(self.cwd / "cache")} | more,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    def install(self, source: Path, *options: str) -> None:
        """Builds a wheel with what is here and installs it there; nothing is downloaded."""
        wheels = self.cwd / "wheels" / source.name
        build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels))
        _pip(*build, str(source))
        (wheel,) = wheels.glob("*.whl")
        _pip("--python", str(self.root), "install", "--no-deps", "--no-index", *options, str(wheel))


def _pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def fresh(cache: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The zoo as a wheel in a new environment that borrows the heavy packages of this one."""
    missing = [name for name in ("pip", "hatchling") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.fail(f"this test builds wheels: pip install {' '.join(missing)}")
    base = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(base / "venv")], check=True)
    environment = Environment(base / "venv", base)
    environment.install(repository)
    # Afterwards, so that pip does not take the zoo of this environment for one of that one.
    # Folders named in a .pth file are searched last and their own .pth files are not read:
    # an editable zoo in them stays unseen.
    (site_packages,) = (base / "venv").glob("lib/python*/site-packages")
    borrowed = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
    (site_packages / "borrowed.pth").write_text("\n".join([*borrowed, ""]))
    return environment


@pytest.fixture(scope="module")
def example(fresh: Environment, repository: Path) -> Environment:
    """… with the example plugin installed."""
    fresh.install(repository / "tests" / "plugin_example")
    return fresh


@pytest.fixture(scope="module")
def broken(example: Environment, repository: Path) -> Environment:
    """… and the broken ones."""
    example.install(repository / "tests" / "plugin_broken")
    return example


def _bench(environment: Environment, *arguments: str) -> tuple[int, dict[str, dict[str, str]], str]:
    out = environment.cwd / f"out{len(list(environment.cwd.glob('out*')))}"
    done = environment.run("zoo", "bench", "--budget", "2steps", "--out", str(out), *arguments)
    assert (out / "leaderboard.csv").is_file(), done.stderr
    with (out / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["model"] for row in rows}) == len(rows)
    return done.returncode, {row["model"]: row for row in rows}, done.stderr


def test_the_zoo_under_test_is_the_installed_wheel(example: Environment) -> None:
    program = (
        "import zoo, zoo_plugins, zoo_datasets, zoo_benchmark, torch;"
        "print(*(m.__file__ for m in (zoo, zoo_plugins, zoo_datasets, zoo_benchmark)), sep='\\n')"
    )
    done = example.run("python", "-c", program)
    assert done.returncode == 0, done.stderr
    for file in done.stdout.split():
        assert Path(file).is_relative_to(example.root)


def test_the_example_is_listed(example: Environment) -> None:
    done = example.run("zoo", "list", "--json")
    listed = {plugin["name"]: plugin for plugin in json.loads(done.stdout)}
    built_in = {*registry.list_colorizers(), *registry.list_file_colorizers()}
    assert set(listed) == {*built_in, "tiny_cnn"}
    assert listed["tiny_cnn"]["distribution"] == "zoo-plugin-example"
    assert "tiny_cnn" in example.run("zoo", "list").stdout


def test_the_example_describes_itself(example: Environment) -> None:
    done = example.run("zoo", "info", "tiny_cnn")
    assert done.returncode == 0, done.stderr
    assert "A tiny CNN" in done.stdout


def test_the_example_learns_and_predicts(example: Environment) -> None:
    program = """
import numpy as np, zoo
from PIL import Image
from skimage.data import astronaut
photo = astronaut()
images = np.stack([photo[y:y + 64, x:x + 64] for y in (0, 96, 192) for x in (96, 192, 288)])
tiny = zoo.load("tiny_cnn", device="cpu").fit(images, budget="60steps", size=32)
curve = tiny.record.curve
assert curve[-1]["loss"] < 0.9 * curve[0]["loss"], (curve[0], curve[-1])
grey = Image.fromarray(photo).convert("L").resize((75, 50))
assert tiny.predict(grey).size == (75, 50)
tiny.save("tiny.safetensors")
again = zoo.load("tiny_cnn", "tiny.safetensors", device="cpu")
assert np.array_equal(np.asarray(again.predict(grey)), np.asarray(tiny.predict(grey)))
"""
    done = example.run("python", "-c", program)
    assert done.returncode == 0, done.stderr


def test_the_example_passes_its_own_tests(example: Environment, repository: Path) -> None:
    # Out of the way of this repository's own settings of pytest.
    folder = example.cwd / "plugin_example"
    shutil.copytree(repository / "tests" / "plugin_example" / "tests", folder / "tests")
    done = example.run("python", "-m", "pytest", "-q", str(folder))
    assert done.returncode == 0, done.stdout
    checked = example.run("zoo", "check", "tiny_cnn", "--json")
    assert checked.returncode == 0, checked.stderr
    outcomes = {found["check"]: found["status"] for found in json.loads(checked.stdout)}
    assert outcomes.pop("devices") in ("ok", "skipped")  # there may be no GPU
    assert set(outcomes.values()) == {"ok"}


def test_a_new_plugin_is_installed_and_passes_its_tests(example: Environment) -> None:
    written = example.run("zoo", "new", "brand_new", "--template", "classifier")
    assert written.returncode == 0, written.stderr
    # In a folder of its own: the other tests count what is installed.
    own = Environment(example.root, example.cwd / "own")
    own.cwd.mkdir()
    own.install(example.cwd / "brand-new", "--target", str(own.cwd / "site"))
    variables = {"PYTHONPATH": str(own.cwd / "site")}
    assert "brand_new" in own.run("zoo", "list", **variables).stdout
    done = own.run("python", "-m", "pytest", "-q", str(example.cwd / "brand-new"), **variables)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def tutorial(fresh: Environment, tmp_path: Path) -> Iterator[Callable[[str], dict[str, str]]]:
    """Builds and installs the distribution of a page, and gives back what makes it be seen.

    In a folder of its own: the other tests count what is installed.
    """

    def install(page: str) -> dict[str, str]:
        source, site = tmp_path / page, tmp_path / f"{page}-site"
        source.mkdir()
        for name, content in files(DOCUMENTS[f"docs/tutorial/{page}.md"]):
            (source / name).write_text(content, encoding="utf-8")
        Environment(fresh.root, tmp_path).install(source, "--target", str(site))
        return {"PYTHONPATH": str(site)}

    PRESUMED["holiday"](fresh.cwd / "holiday")
    yield install
    shutil.rmtree(fresh.cwd / "holiday")


def test_a_metric_of_the_tutorial_is_a_column(
    fresh: Environment, tutorial: Callable[[str], dict[str, str]]
) -> None:
    arguments = ("--models", "mean_color", "--dataset", "folder:holiday", "--size", "176")
    metrics = ("--metrics", "psnr,ms_ssim", "--no-throughput", "--budget", "2steps")
    command = ("zoo", "bench", *arguments, *metrics, "--out", "framed")
    refused = fresh.run(*command)
    assert refused.returncode == 2
    assert "ms_ssim" in refused.stderr
    done = fresh.run(*command, **tutorial("first-metric"))
    assert done.returncode == 0, done.stderr
    assert "MS-SSIM ↑" in done.stdout
    with (fresh.cwd / "framed" / "leaderboard.csv").open(newline="") as file:
        rows = {row["model"]: float(row["ms_ssim"]) for row in csv.DictReader(file)}
    # What keeps the lightness keeps most of the structure, and not all that is in R, G and B.
    assert set(rows) == {"grey", "mean_color"}
    assert all(0.7 < value < 0.999 for value in rows.values())
    assert "MS-SSIM" in (fresh.cwd / "framed" / "report.html").read_text(encoding="utf-8")


def test_a_dataset_of_the_tutorial_is_trained_and_scored_on(
    fresh: Environment, tutorial: Callable[[str], dict[str, str]]
) -> None:
    seen = tutorial("first-dataset")
    assert "album" in fresh.run("zoo", "datasets", **seen).stdout
    arguments = ("--models", "mean_color", "--dataset", "album:holiday", "--no-references")
    metrics = ("--metrics", "psnr", "--no-throughput", "--budget", "2steps", "--out", "listed")
    done = fresh.run("zoo", "bench", *arguments, *metrics, **seen)
    assert done.returncode == 0, done.stderr
    with (fresh.cwd / "listed" / "scores.csv").open(newline="") as file:
        scored = [row["image"] for row in csv.DictReader(file) if row["metric"] == "psnr"]
    listed = fresh.cwd / "holiday" / "test.txt"
    assert sorted(scored) == sorted(listed.read_text().split())
    listed.unlink()
    refused = fresh.run("zoo", "bench", *arguments, "--out", "refused", **seen)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("error: holiday/test.txt is missing")


def test_the_example_is_benchmarked_with_all_others(example: Environment, repository: Path) -> None:
    weights = repository.parent / "shared" / "weights" / "alexnet_features.safetensors"
    arguments = ("--lpips-weights", str(weights)) if weights.is_file() else ()
    code, rows, errors = _bench(example, "--models", "all", *arguments)
    assert set(rows) == {*registry.list_colorizers(), "tiny_cnn"}
    assert {row["status"] for row in rows.values()} == {"ok"}, errors
    assert code == 0
    assert float(rows["tiny_cnn"]["psnr"]) > 5
    assert float(rows["tiny_cnn"]["predict_images_per_s_cpu"]) > 0
    if arguments:
        assert all(0 < float(row["lpips"]) < 2 for row in rows.values())


def test_a_metric_of_the_example_finds_its_weights(example: Environment, tmp_path: Path) -> None:
    arguments = ("--models", "grey", "--metrics", "psnr,rgb_error", "--no-throughput")
    code, rows, _ = _bench(example, *arguments)
    assert (code, rows["grey"]["rgb_error"]) == (0, "")
    again = ("zoo", "report", str(max(example.cwd.glob("out*"), key=lambda p: p.stat().st_mtime)))
    assert (
        "rgb_error was not scored: the weights of R, G and B are not here: "
        "pass --weights-file rgb_error=FILE" in example.run(*again).stdout
    )

    weights = tmp_path / "mine.txt"
    weights.write_bytes(b"1 0 0\n")
    named = ("--weights-file", f"rgb_error={weights}")
    refused = example.run("zoo", "bench", *arguments, *named, "--out", "refused-weights")
    assert (refused.returncode, len(refused.stderr.strip().splitlines())) == (2, 1)
    assert f"{weights} (from --weights-file) has SHA-256" in refused.stderr
    weights.write_bytes(b"0.25 0.5 0.25\n")
    code, rows, errors = _bench(example, *arguments, *named)
    assert code == 0, errors
    assert float(rows["grey"]["rgb_error"]) > 1

    random = np.random.default_rng(0)
    for folder in ("truth", "pred"):
        (tmp_path / folder).mkdir()
    truth = random.integers(0, 200, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(truth).save(tmp_path / "truth" / "a.png")
    Image.fromarray(truth + np.array([4, 8, 12], np.uint8)).save(tmp_path / "pred" / "a.png")
    folders = ("--pred", str(tmp_path / "pred"), "--truth", str(tmp_path / "truth"))
    scored = example.run(
        *("zoo", "score", *folders, "--metrics", "rgb_error", "--json"),
        ZOO_RGB_ERROR_WEIGHTS=str(weights),
    )
    assert scored.returncode == 0, scored.stderr
    found = json.loads(scored.stdout)["metrics"]["rgb_error"]
    # The truth goes through CIE Lab, which may move a value by one.
    assert found == pytest.approx(0.25 * 4 + 0.5 * 8 + 0.25 * 12, abs=0.1)


REASONS = {
    "raises_at_import": "RuntimeError: the wrong version of something else",
    "exits_at_import": "SystemExit: a license key is missing",
}


def test_broken_plugins_stay_listed_with_their_reasons(broken: Environment) -> None:
    quick = broken.run("zoo", "list")
    assert quick.returncode == 0, quick.stderr
    assert all(name in quick.stdout for name in (*registry.list_colorizers(), *REASONS))
    checked = broken.run("zoo", "list", "--verbose")
    assert checked.returncode == 0, checked.stderr
    lines = {line.split()[0]: line for line in checked.stdout.splitlines() if line.strip()}
    for name, reason in REASONS.items():
        assert "broken" in lines[name]
        assert reason in lines[name]
    for name in (*registry.list_colorizers(), "tiny_cnn"):
        assert "broken" not in lines[name]
    # What has been found out is remembered.
    assert REASONS["raises_at_import"] in broken.run("zoo", "list").stdout


def test_broken_plugins_cannot_be_loaded_and_say_why(broken: Environment) -> None:
    for name, reason in REASONS.items():
        done = broken.run("zoo", "info", name)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1
        assert reason in done.stderr


def test_broken_plugins_are_rows_and_stop_no_other(broken: Environment) -> None:
    code, rows, errors = _bench(broken, "--models", "all", "--metrics", "psnr", "--no-throughput")
    assert code == 1
    assert set(rows) == {*registry.list_colorizers(), "tiny_cnn", *REASONS}
    for name, row in rows.items():
        if name in REASONS:
            assert REASONS[name] in row["status"]
            assert f"{name} failed" in errors
        else:
            assert row["status"] == "ok"
