"""A training that is stopped and resumed is the training that was never stopped."""

import dataclasses
import hashlib
import os
import shutil
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from stopping import stop_after

import zoo
import zoo.training.checkpoint
from zoo.colorizer import TrainingOptions
from zoo.data.dataset import ImageSet
from zoo.errors import TrainingError, WeightsError
from zoo.registry import colorizer_class
from zoo.training.checkpoint import Checkpoint
from zoo.weights.card import model_card
from zoo.weights.file import Origin, open_weights

NAMES = zoo.list_colorizers()
SIZE = 32

every = pytest.mark.parametrize("name", NAMES)


def state(colorizer):
    return {k: v.numpy().tobytes() for k, v in colorizer.net.state_dict().items()}


LEARNERS = [name for name in NAMES if not colorizer_class(name).info.floor]
LEARNERS.sort(key=lambda name: name != "fc_generator")  # first one whose steps take little time


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.long)])
def test_stopped_twice_and_resumed_gives_the_same_bits(name, precision, new, tiles, tmp_path):
    if not colorizer_class(name).info.deterministic:
        pytest.skip("its info says that it is not deterministic")
    straight = new(name, precision=precision).fit(tiles, budget="7steps", size=SIZE, seed=3)
    path = tmp_path / "c.pt"
    for steps in (2, 5):
        stopped = new(name, precision=precision)
        checkpoint = Checkpoint(path)
        with pytest.raises(KeyboardInterrupt):
            stopped.fit(
                tiles,
                budget="7steps",
                size=SIZE,
                seed=3,
                checkpoint=checkpoint,
                on_step=stop_after(checkpoint, steps),
            )
        assert path.is_file()
        assert not stopped.is_fitted
    torch.manual_seed(99)  # a new process begins elsewhere
    seen = []
    resumed = new(name, precision=precision).fit(
        tiles,
        budget="7steps",
        size=SIZE,
        seed=3,
        checkpoint=Checkpoint(path),
        on_step=lambda feed: seen.append(feed.cost.steps),
    )
    assert seen == [6, 7]
    assert state(resumed) == state(straight)
    assert resumed.record.cost.steps == 7
    assert resumed.record.cost.images == straight.record.cost.images
    assert resumed.record.cost.flops == straight.record.cost.flops
    assert resumed.record.images_seen == straight.record.images_seen
    assert resumed.record.learning_rate == straight.record.learning_rate
    losses = [[point["loss"] for point in c.record.curve] for c in (resumed, straight)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", LEARNERS[:1])
def test_a_search_is_not_made_twice(name, new, tiles, tmp_path):
    def colorizer():
        return new(name)

    how = {"budget": "220steps", "size": SIZE, "find_learning_rate": True}
    straight = colorizer().fit(tiles, **how)
    checkpoint = Checkpoint(tmp_path / "c.pt")
    with pytest.raises(KeyboardInterrupt):
        colorizer().fit(tiles, **how, checkpoint=checkpoint, on_step=stop_after(checkpoint, 60))
    steps = []
    resumed = colorizer().fit(
        tiles,
        **how,
        checkpoint=Checkpoint(checkpoint.path),
        on_step=lambda feed: steps.append(feed.cost.steps),
    )
    assert steps[0] == 61
    assert resumed.record.search_steps == straight.record.search_steps > 0
    assert resumed.record.learning_rate == straight.record.learning_rate
    assert state(resumed) == state(straight)


@pytest.fixture
def kept(new, tiles, tmp_path):
    """A checkpoint of the first learner, two of four steps done, with a note."""
    checkpoint = Checkpoint(tmp_path / "kept.pt")
    checkpoint.notes["pictures"] = [torch.arange(3)]
    with pytest.raises(KeyboardInterrupt):
        new(LEARNERS[0]).fit(
            tiles,
            budget="4steps",
            size=SIZE,
            checkpoint=checkpoint,
            on_step=stop_after(checkpoint, 2),
        )
    return checkpoint.path


def test_notes_come_back(kept, new, tiles):
    checkpoint = Checkpoint(kept)
    new(LEARNERS[0]).fit(tiles, budget="4steps", size=SIZE, checkpoint=checkpoint)
    assert torch.equal(checkpoint.notes["pictures"][0], torch.arange(3))
    assert checkpoint.resumed_steps == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": "5steps"}, r"budget was '4 steps', now it is '5 steps'"),
        ({"seed": 1}, r" seed was 0, now it is 1"),
        ({"size": 64}, r"the size of the crops was 32, now it is 64"),
        ({"find_learning_rate": True}, r"learning-rate search was False, now it is True"),
        ({"tiles": 5}, r"the manifest of the training images was"),
        ({"precision": "bf16"}, r"precision was 'fp32', now it is 'bf16'"),
        ({"options": {"learning_rate": 1e-5}}, r"option learning_rate was .*, now it is 1e-05"),
    ],
)
def test_another_training_is_not_resumed(change, message, kept, new, tiles):
    change = dict(change)
    precision = change.pop("precision", "fp32")
    colorizer = new(LEARNERS[0])
    options = dataclasses.replace(colorizer.options, **change.pop("options", {}))
    colorizer = type(colorizer)(options, device="cpu", precision=precision)
    tiles = tiles[: change.pop("tiles", None)]
    before = kept.read_bytes()
    how = {"budget": "4steps", "size": SIZE, **change}
    with pytest.raises(WeightsError, match=message) as caught:
        colorizer.fit(tiles, **how, checkpoint=Checkpoint(kept))
    assert str(kept) in str(caught.value)
    assert kept.read_bytes() == before


def test_another_models_checkpoint_is_not_resumed(kept, new, tiles):
    with pytest.raises(WeightsError, match=f"model was '{LEARNERS[0]}'"):
        new(LEARNERS[1]).fit(tiles, budget="4steps", size=SIZE, checkpoint=Checkpoint(kept))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_damaged_checkpoint_says_so(content, kept, new, tiles):
    kept.write_bytes(kept.read_bytes()[:-2000] if content is None else content)
    with pytest.raises(WeightsError, match=r"no readable checkpoint.*delete it"):
        new(LEARNERS[0]).fit(tiles, budget="4steps", size=SIZE, checkpoint=Checkpoint(kept))


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("evil",))


def test_pickled_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"identity": {}, "format": 1, "notes": Evil()}, tmp_path / "c.pt")
    with pytest.raises(WeightsError, match="no readable checkpoint"):
        Checkpoint(tmp_path / "c.pt").read({})
    assert not Path("evil").exists()


def test_it_is_written_every_so_often(new, tiles, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(zoo.training.checkpoint.time, "perf_counter", lambda: now[0])
    written = []
    save = torch.save
    monkeypatch.setattr(
        zoo.training.checkpoint.torch,
        "save",
        lambda s, f: (written.append(s["feed"]["steps"]), save(s, f)),
    )

    def tick(feed):
        now[0] += 20

    checkpoint = Checkpoint(tmp_path / "c.pt", every=60)
    new(LEARNERS[0]).fit(tiles, budget="10steps", size=SIZE, checkpoint=checkpoint, on_step=tick)
    assert written == [3, 6, 9, 10]  # and once after the last step
    assert checkpoint.path.exists()
    checkpoint.remove()
    assert not checkpoint.path.exists()


def test_a_slow_disk_is_written_to_less_often(new, tiles, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(zoo.training.checkpoint.time, "perf_counter", lambda: now[0])
    written = []

    def slow(state, path):
        written.append(state["feed"]["steps"])
        now[0] += 10  # ten seconds: two hundred may pass until the next

    monkeypatch.setattr(zoo.training.checkpoint.torch, "save", slow)
    new(LEARNERS[0]).fit(
        tiles,
        budget="20steps",
        size=SIZE,
        checkpoint=Checkpoint(tmp_path / "c.pt", every=60),
        on_step=lambda feed: now.__setitem__(0, now[0] + 20),
    )
    assert written == [3, 13, 20]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("write failed\nsomewhere")]
)
def test_a_full_disk_does_not_end_training(error, new, tiles, tmp_path, monkeypatch):
    def full(state, path):
        raise error

    # A clock of steps: writing takes no time, and every step is long enough for the next.
    now = [0.0]
    monkeypatch.setattr(zoo.training.checkpoint.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(zoo.training.checkpoint.torch, "save", full)
    problems = []
    colorizer = new(LEARNERS[0]).fit(
        tiles,
        budget="2steps",
        size=SIZE,
        checkpoint=Checkpoint(tmp_path / "c.pt", every=1, on_problem=problems.append),
        on_step=lambda feed: now.__setitem__(0, now[0] + 1),
    )
    assert colorizer.is_fitted
    assert len(problems) == 3
    assert "could not be written: " in problems[0]
    assert "No space left" in problems[0] or "write failed" in problems[0]
    assert all("\n" not in problem for problem in problems)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("usage", "told"),
    # Some network file systems say 0 of 0.
    [((10**12, 0, 99 * 10**6), " (99.0 MB are free there)"), ((0, 0, 0), "")],
)
def test_little_room_is_named_where_it_is_known(usage, told, new, tiles, tmp_path, monkeypatch):
    def full(state, path):
        raise OSError(28, "No space left")

    monkeypatch.setattr(zoo.training.checkpoint.torch, "save", full)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(*usage))
    problems = []
    checkpoint = Checkpoint(tmp_path / "c.pt", every=1e-9, on_problem=problems.append)
    new(LEARNERS[0]).fit(tiles, budget="1steps", size=SIZE, checkpoint=checkpoint)
    assert problems[-1].endswith(f"could not be written: No space left{told}; training goes on")


def test_what_is_stopped_on_a_full_disk_is_kept_elsewhere(new, tiles, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    save, problems = zoo.training.checkpoint._save, []

    def full(state, path):
        if path.parent == tmp_path / "here":
            raise OSError(28, "No space left on device")
        save(state, path)

    monkeypatch.setattr(zoo.training.checkpoint, "_save", full)
    checkpoint = Checkpoint(tmp_path / "here" / "c.pt", on_problem=problems.append)
    with pytest.raises(KeyboardInterrupt):
        new(LEARNERS[0]).fit(
            tiles,
            budget="3steps",
            size=SIZE,
            checkpoint=checkpoint,
            on_step=lambda _: checkpoint.stop(),
        )
    assert f"No space left on device; it is {checkpoint.kept_in} instead" in problems[-1]
    shutil.move(checkpoint.kept_in, checkpoint.path)
    again = Checkpoint(checkpoint.path)
    monkeypatch.undo()
    assert new(LEARNERS[0]).fit(tiles, budget="3steps", size=SIZE, checkpoint=again).is_fitted
    assert again.resumed_steps == 1


def test_in_python_a_problem_is_a_warning(new, tiles, tmp_path, monkeypatch):
    monkeypatch.setattr(
        zoo.training.checkpoint.torch,
        "save",
        lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")),
    )
    with pytest.warns(UserWarning, match="No space left; training goes on"):
        new(LEARNERS[0]).fit(
            tiles, budget="1steps", size=SIZE, checkpoint=Checkpoint(tmp_path / "c.pt", every=1e-9)
        )


def test_seconds_between_checkpoints_are_positive(tmp_path):
    with pytest.raises(TrainingError, match="must be positive, got 0"):
        Checkpoint(tmp_path / "c.pt", every=0)


@every
def test_a_finished_training_goes_through_a_checkpoint_unharmed(name, new, fitted, tiles, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkpoint = Checkpoint(tmp_path / "c.pt", every=1e-9)
        watched = new(name).fit(tiles, budget="2steps", size=SIZE, checkpoint=checkpoint)
    if watched.info.deterministic:
        assert state(watched) == state(fitted(name))
    if watched.record.cost.steps == 0:
        assert not checkpoint.path.exists()
        return
    # What was written at its very end needs no further step.
    steps = []
    again = Checkpoint(checkpoint.path)
    resumed = new(name).fit(
        tiles, budget="2steps", size=SIZE, checkpoint=again, on_step=steps.append
    )
    assert again.resumed_steps == 2
    assert not steps
    assert state(resumed) == state(watched)
    assert resumed.record.stop_reason == "budget"
    assert resumed.record.cost == dataclasses.replace(
        watched.record.cost, seconds=resumed.record.cost.seconds
    )


def test_who_resumes_is_told_before_the_first_step(kept, new, tiles):
    told = []
    checkpoint = Checkpoint(kept, on_resume=lambda c: told.append((c.resumed_steps, dict(c.notes))))
    new(LEARNERS[0]).fit(
        tiles, budget="4steps", size=SIZE, checkpoint=checkpoint, on_step=lambda _: told.append("s")
    )
    assert told[0][0] == 2
    assert "pictures" in told[0][1]
    assert told[1:] == ["s", "s"]


def test_another_version_of_the_network_is_one_line(kept, new, tiles):
    saved = torch.load(kept, weights_only=True)
    saved["net"] = {f"{name}.renamed": tensor for name, tensor in saved["net"].items()}
    torch.save(saved, kept)
    with pytest.raises(WeightsError, match="does not fit the model") as caught:
        new(LEARNERS[0]).fit(tiles, budget="4steps", size=SIZE, checkpoint=Checkpoint(kept))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["more", "fewer", "other"])
def test_other_optimizers_are_not_passed_over(change, kept, new, tiles):
    saved = torch.load(kept, weights_only=True)
    optimizers = saved["feed"]["kept"]
    saved["feed"]["kept"] = {
        "more": optimizers * 2,
        "fewer": optimizers[:-1],
        "other": [{"state": {}, "param_groups": []}],
    }[change]
    if change == "fewer" and not saved["feed"]["kept"]:
        saved["feed"]["kept"] = optimizers * 3
    torch.save(saved, kept)
    with pytest.raises(WeightsError, match="another version of the method"):
        new(LEARNERS[0]).fit(tiles, budget="4steps", size=SIZE, checkpoint=Checkpoint(kept))


def test_time_spent_before_counts(new, tiles, tmp_path):
    checkpoint = Checkpoint(tmp_path / "c.pt")
    seconds = []

    def stop(feed):
        seconds.append(feed.cost.seconds)
        if feed.progress > 0.5:
            checkpoint.stop()

    how = {"budget": "1.0s", "size": SIZE, "checkpoint": checkpoint}
    with pytest.raises(KeyboardInterrupt):
        new(LEARNERS[0]).fit(tiles, **how, on_step=stop)
    spent = seconds[-1]
    resumed = new(LEARNERS[0]).fit(
        tiles, budget="1.0s", size=SIZE, checkpoint=Checkpoint(checkpoint.path)
    )
    assert resumed.record.cost.seconds >= 1
    assert resumed.record.overshoot <= resumed.record.longest_step_seconds + 1e-6
    assert resumed.record.curve[-1]["seconds"] > spent


# ---- starting from weights ----------------------------------------------------------------


@pytest.mark.parametrize("name", LEARNERS)
def test_fine_tuning_starts_from_the_weights(name, new, fitted, saved, tiles, tmp_path):
    colorizer = new(name)
    # A step so small that it changes next to nothing (a discriminator may have its own).
    if not isinstance(colorizer.options, TrainingOptions):
        pytest.skip("it has no learning rate")
    options = dataclasses.replace(colorizer.options, learning_rate=1e-12, weight_decay=0.0)
    tuned = type(colorizer)(options, device="cpu", precision="fp32")
    tuned.fit(tiles, budget="1steps", size=SIZE, seed=9, initial=saved(name))
    before = dict(fitted(name).net.named_parameters())
    for parameter, value in tuned.net.named_parameters():
        np.testing.assert_allclose(
            value.detach().numpy(), before[parameter].detach().numpy(), atol=1e-4
        )
    digest = hashlib.sha256(saved(name).read_bytes()).hexdigest()
    assert tuned.record.initial == f"{saved(name).name} (SHA-256 {digest})"
    scratch = type(colorizer)(options, device="cpu", precision="fp32")
    scratch.fit(tiles, budget="1steps", size=SIZE, seed=9)
    assert state(scratch) != state(tuned)


def test_fine_tuned_weights_are_ones_own_and_name_all_their_images(new, saved, tiles, tmp_path):
    name, files = LEARNERS[0], [tmp_path / f"{i}.safetensors" for i in range(3)]
    published = zoo.load(name, saved(name), device="cpu")
    published.origin = Origin("CC-BY-4.0", "https://example.org", "flowers")
    published.save(files[0])
    photographs = ImageSet(tiles[:4], ["a", "b", "c", "d"], source="folder")
    images = "flowers; budget 2steps; then 4 images of folder"
    for data, (start, end) in zip((photographs, tiles[:3]), pairwise(files), strict=True):
        new(name).fit(data, budget="1steps", size=SIZE, initial=start).save(end)
        stored = open_weights(end, type(published))
        assert stored.origin == Origin("CC-BY-4.0", "", images)
        assert stored.taught == f"{images}; budget 1steps"
        card = model_card(stored, published.info)
        assert f"| trained on | {images} |" in card
        assert "published at" not in card
        images = f"{images}; budget 1steps; then 3 images"


def test_weights_of_something_else_are_refused_before_training(new, saved, tiles):
    steps = []
    with pytest.raises(WeightsError, match=f"weights of '{LEARNERS[1]}'"):
        new(LEARNERS[0]).fit(
            tiles, budget="1steps", initial=saved(LEARNERS[1]), on_step=steps.append
        )
    assert not steps


def test_a_failing_start_leaves_a_fitted_colorizer_as_it_was(fit, saved, tiles, greys):
    colorizer = fit(LEARNERS[0], tiles, budget="1steps")
    before = colorizer.predict(greys)
    with pytest.raises(WeightsError):
        colorizer.fit(tiles, budget="1steps", initial=saved(LEARNERS[1]))
    assert colorizer.is_fitted
    assert np.array_equal(colorizer.predict(greys), before)
