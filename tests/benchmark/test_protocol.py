"""What is held fixed: protocols as files, departures from them, and seeds."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from zoo import registry
from zoo.errors import InputError, UnknownNameError
from zoo.training.variety import UNVARIED, Variety
from zoo_benchmark import protocol as protocols
from zoo_benchmark.protocol import (
    DEFAULT,
    DIGESTS,
    FOLDER,
    NO_BUDGET,
    ProtocolError,
    find_protocol,
    names,
    read_protocol,
    seeds_of,
)
from zoo_benchmark.results.references import CEILINGS
from zoo_benchmark.settings import BenchSettings, check_preparation, choose_protocol

MODELS = ["grey", "zhang", "a_stranger's"]
PLAIN = {"quick@1", "quick-steps@1", "cifar10@1", "tiny@1", "photos256@1", "sun397@1"}
VARIED = {"tiny@2", "photos256@2", "sun397@2"}
PROMISED = PLAIN | VARIED


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stranger's protocol, and a cache of its own to remember it in."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    text = (FOLDER / "tiny@1.toml").read_text().replace('name = "tiny"', 'name = "mine"')
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return file


def test_the_promised_protocols_are_there() -> None:
    assert set(names()) >= PROMISED
    assert DEFAULT in names()


@pytest.mark.parametrize("name", names())
def test_every_protocol_can_be_kept_by_this_zoo(name: str) -> None:
    protocol = find_protocol(name)
    assert protocol.id == name
    if protocol.budget == NO_BUDGET:
        return  # tests/datasets/test_evaluation_sets.py: the split decides
    info = registry.dataset_class(protocol.dataset).info
    assert (info.crop, info.resize) == (protocol.crop, protocol.resize)
    for metric, version in protocol.metrics.items():
        assert registry.metric_class(metric).info.version == version
    assert all(registry.colorizer_class(floor).info.floor for floor in protocol.floors)
    assert set(protocol.ceilings) <= set(CEILINGS)


def test_digests_are_those_of_the_files() -> None:
    """Raise a protocol's version when this fails, and record the digest of the new file."""
    found = {}
    for file in FOLDER.glob("*.toml"):
        content = tomllib.loads(file.read_text())
        defaults = {"manifests": {}, "expected": {}, "learning_rate": "options", "note": ""}
        text = json.dumps({**defaults, **content}, sort_keys=True)
        found[file.stem] = hashlib.sha256(text.encode()).hexdigest()
    assert json.loads(DIGESTS.read_text()) == found


def test_quick_describes_the_embedded_photographs() -> None:
    quick = find_protocol("quick@1")
    assert (quick.dataset, quick.size, quick.preset) == ("photos", 64, "small")
    assert (quick.budget, quick.seeds) == ("20s", 1)
    assert "not a ranking" in quick.note
    dataset = registry.open_dataset("photos")
    check_preparation(quick, dataset)
    for split in ("train", "test"):
        assert dataset.open(split, 64).manifest_hash() == quick.manifests[split]


def test_quick_steps_is_quick_with_steps() -> None:
    quick, steps = find_protocol("quick@1"), find_protocol("quick-steps@1")
    assert [d.partition("=")[0] for d in quick.departures(steps)] == ["budget"]
    assert steps.budget.endswith("steps")
    assert steps.manifests == quick.manifests


def test_a_packaged_protocol_that_was_edited_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in (FOLDER / "quick@1.toml", DIGESTS):
        (tmp_path / file.name).write_text(file.read_text().replace('"20s"', '"21s"'))
    monkeypatch.setattr(protocols, "FOLDER", tmp_path)
    monkeypatch.setattr(protocols, "DIGESTS", tmp_path / DIGESTS.name)
    with pytest.raises(ProtocolError, match=r"quick@1 .* was changed and kept its version"):
        find_protocol("quick@1")


def test_comments_and_layout_are_no_change(written: Path) -> None:
    before = find_protocol(str(written))
    written.write_text("# a word on it\n\n" + written.read_text())
    assert find_protocol(str(written)) == before


def test_a_changed_file_needs_another_version(written: Path) -> None:
    find_protocol(str(written))
    text = written.read_text()
    written.write_text(text.replace('"5min"', '"6min"'))
    with pytest.raises(ProtocolError, match=r"mine@1 .* in budget; write version = 2"):
        find_protocol(str(written))
    written.write_text(text.replace('"5min"', '"6min"').replace("version = 1", "version = 2"))
    assert find_protocol(str(written)).id == "mine@2"


def test_a_file_cannot_borrow_a_packaged_name(written: Path) -> None:
    text = written.read_text().replace('"mine"', '"tiny"')
    written.write_text(text)
    assert find_protocol(str(written)).id == "tiny@1"
    written.write_text(text.replace("seeds = 3", "seeds = 1"))
    with pytest.raises(ProtocolError, match=r"differs from the tiny@1 known here in seeds"):
        find_protocol(str(written))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("size = 64", 'size = "64"', "size = '64' is not a whole number"),
        ("size = 64", "size = 16", "--size 16 is too small"),
        ("size = 64", "", "lacks size"),
        ("size = 64", "size = 64\nsizes = 3", "unknown field 'sizes': did you mean 'size'"),
        ('"5min"', '"5 minutes"', "cannot read the budget '5 minutes'"),
        ('"small"', '"tiny"', "unknown preset 'tiny'"),
        ("seeds = 3", "seeds = 0", "--seeds must be at least 1"),
        ("[metrics]", "[metrics", "cannot read the protocol"),
        ("size = 64", "size = 64\nstored_size = 32", "stored_size 32 is smaller than the crops"),
        ("size = 64", "size = 64\ncrop_scale = [1.0, 0.5]", "crop_scale 1,0.5 is no pair"),
        ("size = 64", 'size = 64\ncrop_scale = ["a", 1]', "is not a list of numbers"),
        ("size = 64", "size = 64\ncrop_scale = 0.5", "crop_scale = 0.5 is not a list"),
        ("size = 64", "size = 64\ninput_variety = 1", "input_variety = 1 is not true or false"),
        ("size = 64", "size = true", "size = True is not a whole number"),
        ("psnr = 1", 'psnr = "1"', "metrics.psnr = '1' is not a whole number"),
        ("psnr = 1", "psnr = true", "metrics.psnr = True is not a whole number"),
        (
            "[metrics]",
            "[conditions]\njpeg75 = 1.5\n\n[metrics]",
            "conditions.jpeg75 = 1.5 is not a whole number",
        ),
        (
            "[metrics]",
            '[expected]\ngrey_psnr = "20"\n\n[metrics]',
            "expected.grey_psnr = '20' is not a number",
        ),
        ("[metrics]", "[manifests]\ntest = 7\n\n[metrics]", "manifests.test = 7 is not text"),
    ],
)
def test_what_cannot_be_read_is_named(written: Path, old: str, new: str, message: str) -> None:
    written.write_text(written.read_text().replace(old, new, 1))
    with pytest.raises(ProtocolError) as caught:
        find_protocol(str(written))
    assert message in str(caught.value)
    assert str(written) in str(caught.value)


def test_protocols_of_old_train_on_images_as_they_are() -> None:
    for name in PLAIN:
        protocol = find_protocol(name)
        assert protocol.variety == UNVARIED
        # Runs and digests of before have none of these fields.
        assert not {"input_variety", "crop_scale", "stored_size"} & set(protocol.content())


def test_protocols_with_variety_are_those_of_old_but_for_that() -> None:
    for name in VARIED:
        protocol, before = find_protocol(name), find_protocol(name.replace("@2", "@1"))
        assert protocol.input_variety
        assert all(
            "input_variety" in d or "crop" in d or "stored" in d
            for d in before.departures(protocol)
        )
        smallest = protocol.crop_scale[0] * protocol.variety.stored(protocol.size)
        assert smallest >= protocol.size  # no crop is enlarged


def test_crops_and_variety_can_be_asked_for() -> None:
    asked = {"input_variety": True, "crop_scale": (0.5, 1.0), "stored_size": 128}
    named, in_force = choose_protocol(BenchSettings(models="all", **asked))
    assert in_force.variety == Variety(True, (0.5, 1.0), 128)
    assert (in_force.side("train"), in_force.side("test")) == (128, 64)
    assert named.departures(in_force) == [f"{name}={value}" for name, value in asked.items()]
    plain = BenchSettings(models="all", protocol="tiny@2", input_variety=False)
    assert choose_protocol(plain)[1].variety == UNVARIED


def test_images_are_stored_larger_where_crops_are() -> None:
    how = {"models": "all", "protocol": "photos256@2"}
    assert choose_protocol(BenchSettings(**how, size=128))[1].stored_size == 256
    assert choose_protocol(BenchSettings(**how, size=128, stored_size=130))[1].stored_size == 130
    assert choose_protocol(BenchSettings(**how, dataset="photos"))[1].stored_size == 128
    with pytest.raises(InputError, match="stored_size 128 is smaller than the crops of 256 px"):
        choose_protocol(BenchSettings(**how, stored_size=128))


def test_variety_that_is_taken_back_needs_another_version(written: Path) -> None:
    text = written.read_text()
    written.write_text(text.replace("size = 64", "size = 64\ninput_variety = true"))
    assert find_protocol(str(written)).input_variety
    written.write_text(text)
    with pytest.raises(ProtocolError, match=r"mine@1 .* in input_variety; write version = 2"):
        find_protocol(str(written))


def test_an_unknown_protocol_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown protocol 'quick': did you mean"):
        find_protocol("quick")


def test_departures_are_named() -> None:
    quick = find_protocol("quick@1")
    assert quick.departures(quick) == []
    other = dataclasses.replace(quick, size=32, budget="5s", note="another note")
    assert quick.departures(other) == ["size=32", "budget=5s"]
    fewer = dataclasses.replace(quick, metrics={"psnr": 1}, floors=())
    assert len(quick.departures(fewer)) == 2


def test_naming_the_folder_of_an_open_protocol_is_no_departure(tmp_path: Path) -> None:
    named, in_force = choose_protocol(
        BenchSettings(models="all", protocol="tiny@1", dataset=f"folder:{tmp_path}")
    )
    assert named.departures(in_force) == []
    named, in_force = choose_protocol(BenchSettings(models="all", dataset=f"folder:{tmp_path}"))
    assert named.departures(in_force) == [f"dataset=folder:{tmp_path}"]
    # What quick@1 says of the embedded photographs does not speak of these.
    assert (in_force.note, in_force.manifests, in_force.expected) == ("", {}, {})
    assert in_force.crop == registry.dataset_class("folder").info.crop


def test_a_protocol_of_another_crop_is_refused() -> None:
    quick = find_protocol("quick@1")
    with pytest.raises(ProtocolError, match="wants crop = 'centre square'"):
        check_preparation(
            dataclasses.replace(quick, crop="centre square"), registry.open_dataset("photos")
        )


def test_a_metric_of_another_version_is_refused(written: Path) -> None:
    written.write_text(written.read_text().replace("psnr = 1", "psnr = 2"))
    with pytest.raises(ProtocolError, match="wants version 2 of the metric 'psnr'"):
        choose_protocol(BenchSettings(models="all", protocol=str(written)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"grey"', '"gray"', "unknown floor 'gray': did you mean 'grey'?"),
        ('"313 bins"', '"312 bins"', "unknown ceiling '312 bins': did you mean '313 bins'?"),
    ],
)
def test_a_reference_that_is_not_there_is_told_before_any_work(
    zoo: Any, written: Path, old: str, new: str, message: str
) -> None:
    text = written.read_text()
    assert old in text
    written.write_text(text.replace(old, new))
    # Of a dataset that is not there, which is found out next.
    bench = ("bench", "--models", "mean_color", "--protocol", str(written))
    for more, told in (((), message), (("--no-references",), "nowhere")):
        answer = zoo(*bench, "--dataset", "folder:nowhere", *more)
        assert answer.code == 2
        assert told in answer.stderr
        assert len(answer.stderr.splitlines()) == 1
    assert not list(Path.cwd().iterdir())


def test_read_protocol_is_what_the_file_says() -> None:
    file = FOLDER / "cifar10@1.toml"
    content = tomllib.loads(file.read_text())
    protocol = read_protocol(file)
    for name, value in content.items():
        stored = getattr(protocol, name)
        assert (list(stored) if isinstance(stored, tuple) else stored) == value


def test_impossible_rules_are_refused_wherever_they_come_from() -> None:
    with pytest.raises(InputError, match="--seeds must be at least 1"):
        choose_protocol(BenchSettings(models="all", seeds=0))
    with pytest.raises(InputError, match="unknown learning rate 'serch'"):
        choose_protocol(BenchSettings(models="all", learning_rate="serch"))


def test_every_model_gets_the_same_data_and_luck_of_its_own() -> None:
    seeds = [seeds_of(0, "quick@1", 0, model) for model in MODELS]
    assert len({data for data, _ in seeds}) == 1
    assert len({model for _, model in seeds}) == len(MODELS)


def test_base_seed_protocol_and_repetition_each_change_all_seeds() -> None:
    cases = itertools.product((0, 1), ("quick@1", "cifar10@1"), (0, 1, 2))
    seeds = [seed for case in cases for seed in seeds_of(*case, "zhang")]
    assert len(set(seeds)) == len(seeds)


def test_seeds_fit_torch_and_stay_the_same_for_ever() -> None:
    data, model = seeds_of(0, "quick@1", 0, "grey")
    assert 0 <= data < 2**63
    assert 0 <= model < 2**63
    # Results of older versions can be repeated as long as these hold.
    assert (data, model) == (4609495817203549603, 7264869172799350350)


def test_negative_and_large_base_seeds_are_seeds() -> None:
    for base in (-1, 2**80):
        assert all(0 <= seed < 2**63 for seed in seeds_of(base, "quick@1", 0, "grey"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_any_editor_may_save_a_protocol(written: Path, encoding: str) -> None:
    plain = read_protocol(written)
    written.write_text(written.read_text(), encoding=encoding)
    assert read_protocol(written) == plain


def test_a_protocol_nested_without_end(written: Path) -> None:
    written.write_text("x = " + "[" * 100_000)
    with pytest.raises(ProtocolError, match="cannot read the protocol"):
        read_protocol(written)
