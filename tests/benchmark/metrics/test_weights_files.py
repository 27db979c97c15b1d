"""Files of weights of any metric: where they are looked for, and what is said of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo import plugins, registry
from zoo.errors import InputError, UnknownNameError, WeightsError
from zoo.metric import Metric, MetricContext, MetricInfo, Pictures, SetMetric, WeightsFile
from zoo_benchmark.metrics.weights_files import find_metric_files, read_named_files
from zoo_benchmark.run.scoring import open_metrics

CONTENT = b"one weight"
FILES = tuple(
    WeightsFile(name, f"{name} numbers", f"{name}.bin", hashlib.sha256(CONTENT).hexdigest())
    for name in ("first", "second")
)


class One(Metric):
    info: ClassVar = MetricInfo("one-file", "One", "", "lower", 1, weights=FILES[:1])

    def __init__(self, context: MetricContext) -> None:
        super().__init__(context)
        self.length = float(len(self.file(FILES[0]).read_bytes()))

    def __call__(self, predicted: Pictures, truth: Pictures) -> Tensor:
        return torch.full((len(truth),), self.length)


class Two(One):
    info: ClassVar = MetricInfo("two", "Two", "", "lower", 1, weights=FILES)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    theirs = {cls.info.name: cls for cls in (One, Two)}
    find, names = registry.metric_class, plugins.names
    monkeypatch.setattr(registry, "metric_class", lambda name: theirs.get(name) or find(name))
    monkeypatch.setattr(plugins, "names", lambda group: sorted([*names(group), *theirs]))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "named.bin").write_bytes(CONTENT)
    return tmp_path / "named.bin"


def test_option_variable_and_cache(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_metric_files(["psnr", "one-file"], {})
    assert found.missing == {
        "one-file": "first numbers are not here: pass --weights-file one-file=FILE"
    }
    cached = file.parent / "cache" / "weights" / "metrics" / "one-file" / "first.bin"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(CONTENT)
    found = find_metric_files(["psnr", "one-file"], {})
    assert (found.paths, found.missing) == ({"one-file": {"first": cached}}, {})
    monkeypatch.setenv("ZOO_ONE_FILE_WEIGHTS", str(file))
    assert find_metric_files(["one-file"], {}).paths["one-file"] == {"first": file}
    other = file.with_name("other.bin")
    other.write_bytes(CONTENT)
    named = read_named_files([f"one-file={other}"])
    assert find_metric_files(["one-file"], named).paths["one-file"] == {"first": other}


def test_a_metric_with_two_files_needs_both(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_TWO_SECOND_WEIGHTS", str(file))
    found = find_metric_files(["two"], {})
    assert (found.paths, list(found.missing)) == ({}, ["two"])
    assert "--weights-file two.first=FILE" in found.missing["two"]
    found = find_metric_files(["two"], read_named_files([f"two.first={file}"]))
    assert found.paths == {"two": {"first": file, "second": file}}


def test_a_named_file_that_is_another_is_an_error(file: Path) -> None:
    file.write_bytes(b"another")
    with pytest.raises(WeightsError, match=r"named\.bin \(from --weights-file\) has SHA-256"):
        find_metric_files(["one-file"], {"one-file": file})
    with pytest.raises(WeightsError, match=r"\(from --weights-file\) is no file"):
        find_metric_files(["one-file"], {"one-file": file.with_name("nowhere")})


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("one-file", InputError, "type METRIC=FILE"),
        ("one-file=", InputError, "type METRIC=FILE"),
        ("one-fil=x", UnknownNameError, "did you mean 'one-file'"),
        ("two=x", InputError, "type two.first=FILE or two.second=FILE"),
        ("psnr=x", InputError, "needs no file 'psnr'"),
    ],
)
def test_what_names_no_file_is_refused(text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        read_named_files([text])


def test_a_metric_gets_its_own_files_alone(file: Path) -> None:
    context = MetricContext(torch.device("cpu"), np.zeros((0, 8, 8, 3), np.uint8))
    files = find_metric_files(["one-file", "two"], {"one-file": file})
    (metric,), unavailable = open_metrics(["one-file", "two"], context, 8, files)
    picture = Pictures(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    assert metric(picture, picture).tolist() == [len(CONTENT)] * 2
    assert "first numbers are not here" in unavailable["two"]
    # Where nobody looked, the metric itself says what it lacks.
    (_, unavailable) = open_metrics(["one-file"], context, 8)
    assert unavailable == {"one-file": "One needs first numbers: pass --weights-file one-file=FILE"}


def test_what_a_metric_says_it_gives_must_be_what_it_is() -> None:
    with pytest.raises(TypeError, match="one per set from SetMetric"):
        type("Wrong", (One,), {"info": MetricInfo("w", "W", "", "lower", 1, per="set")})
    with pytest.raises(TypeError, match="per='image'"):
        type("Wrong", (SetMetric,), {"info": MetricInfo("w", "W", "", "lower", 1)})
