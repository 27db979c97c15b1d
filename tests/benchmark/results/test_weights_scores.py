"""The scores of weights that a run kept, as their model card has them."""

import shutil

import pandas as pd
import pytest
import yaml

from zoo.registry import colorizer_class
from zoo.weights.card import model_card
from zoo.weights.file import open_weights
from zoo_benchmark.results.weights_scores import recorded_scores


def test_the_card_has_the_scores_that_a_run_recorded(finished, painter):
    file = finished.out / "weights" / f"{painter}.safetensors"
    scores = recorded_scores(file)
    cls = colorizer_class(painter)
    card = model_card(open_weights(file, cls), cls.info, scores)
    (entry,) = yaml.safe_load(card.split("---\n")[1])["model-index"]
    assert entry["results"][0]["dataset"]["type"] == "photos"
    assert "quick@1" in entry["results"][0]["dataset"]["name"]
    said = {metric["type"]: metric["value"] for metric in entry["results"][0]["metrics"]}
    row = pd.read_csv(finished.out / "leaderboard.csv").set_index("model").loc[painter]
    assert len(said) >= 4
    assert said == pytest.approx(row[list(said)].to_dict(), abs=1e-4)


def test_other_weights_have_none(finished, painter, tmp_path):
    file = finished.out / "weights" / f"{painter}.safetensors"
    elsewhere = tmp_path / "weights"
    elsewhere.mkdir()
    shutil.copy(file, elsewhere)
    assert recorded_scores(elsewhere / file.name) == ()
    # What took the place of a run's own is not scored by it.
    run = shutil.copytree(finished.out, tmp_path / "out", symlinks=True)
    (run / "weights" / file.name).unlink()
    (run / "weights" / file.name).write_bytes(b"another")
    assert recorded_scores(run / "weights" / file.name) == ()
