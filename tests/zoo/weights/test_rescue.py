"""Weights are saved somewhere, and never lost for want of room."""

from pathlib import Path

import pytest

from zoo.errors import OutputError
from zoo.weights.rescue import save_somewhere


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A folder for temporary files and a cache, and the path that is asked for."""
    for name in ("temporary", "cache", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def full(*names):
    def save(path):
        if any(name in path.parts for name in names):
            raise OutputError(f"{path.parent.name} is full")
        path.write_text("weights")

    return save


def test_where_there_is_room_it_is_the_path_that_was_asked_for(places):
    assert save_somewhere(full(), places / "w") == (places / "w", "")


@pytest.mark.parametrize(
    ("names", "place"),
    [
        (["out"], "temporary"),
        (["out", "temporary"], "cache"),
        (["out", "temporary", "cache"], "here"),
    ],
)
def test_else_it_is_another_folder(places, names, place):
    saved, reason = save_somewhere(full(*names), places / "out" / "w.safetensors")
    assert reason == "out is full"
    assert saved.read_text() == "weights"
    assert saved.name == "w.safetensors"
    assert saved.is_relative_to(places / place)


def test_a_person_may_make_room(places):
    answers = iter([True, True])
    tries = []

    def save(path: Path) -> None:
        tries.append(path)
        full(*["out"] * (len(tries) < 3))(path)

    (places / "out").mkdir()
    told = save_somewhere(save, places / "out" / "w", lambda _: next(answers))
    assert told == (places / "out" / "w", "")
    assert len(tries) == 3


def test_where_there_is_none_at_all_that_is_said(places):
    with pytest.raises(OutputError, match="out is full; nor could they be written to any folder"):
        save_somewhere(full("out", "temporary", "cache", "here"), places / "out" / "w")
