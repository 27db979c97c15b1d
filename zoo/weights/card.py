"""Model cards of weights: Markdown with the metadata that the Hugging Face hub reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.weights.published import UNKNOWN_LICENSE

if TYPE_CHECKING:
    from zoo.info import Info
    from zoo.weights.file import StoredWeights

_LIBRARY, _TASK = "colorizer-zoo", "image-to-image"
_IDENTIFIER = re.compile(r"[a-z0-9.+-]+")


@dataclass(frozen=True)
class Score:
    """A score of weights on a test set.

    Attributes:
        metric: its name.
        title: its name for people.
        unit: of the value; empty for a pure number.
        value: the mean.
        images: what it was measured on.
    """

    metric: str
    title: str
    unit: str
    value: float
    images: str


def model_card(stored: StoredWeights, info: Info, scores: Sequence[Score] = ()) -> str:
    """The card of weights: front matter, how they were made, how to use them.

    Args:
        stored: the weights.
        info: that of their colorizer.
        scores: what they reached, where that was recorded.
    """
    from huggingface_hub import EvalResult, ModelCardData

    name = stored.path.stem
    record, origin = stored.record, stored.origin
    license = origin.license.lower()
    known = _IDENTIFIER.fullmatch(license) is not None
    data = ModelCardData(
        license=license if known else "other",
        license_name=None if known else origin.license,
        library_name=_LIBRARY,
        pipeline_tag=_TASK,
        tags=["colorization", _LIBRARY, info.name],
        model_name=name if scores else None,
        eval_results=[
            EvalResult(
                task_type=_TASK,
                dataset_type=score.images.partition(",")[0],
                dataset_name=score.images,
                metric_type=score.metric,
                metric_name=score.title,
                metric_value=round(score.value, 4),
            )
            for score in scores
        ]
        or None,
    )
    trained_on = origin.trained_on or (record.data if record is not None else "") or "not recorded"
    facts = {
        "colorizer": f"`{info.name}`: {info.title}",
        "paper": info.paper,
        "license of the weights": origin.license,
        "trained on": trained_on,
    }
    if origin.source:
        facts["published at"] = origin.source
    if record is not None:
        facts |= {
            "license of the images": record.data_license or UNKNOWN_LICENSE,
            "images seen": f"{record.images_seen:,} of {record.images_available:,}",
            "crops": f"{record.size} px",
            "budget": f"{record.budget}, seed {record.seed}",
            "spent": f"{record.cost.steps:,} steps, {record.cost.seconds:,.0f} s on {record.device}"
            f" in {record.precision}",
            "started from": record.initial or "fresh weights",
        }
    if stored.zoo_version:
        facts["written by"] = f"{_LIBRARY} {stored.zoo_version}"
    parts = [
        f"---\n{data.to_yaml()}\n---\n",
        f"# {name}\n\nColours black-and-white photographs.\n",
        _table(("", ""), list(facts.items())),
    ]
    if info.differs:
        departures = "".join(f"- {each}\n" for each in info.differs)
        parts.append(f"It departs from the paper:\n\n{departures}")
    if scores:
        rows = [(f"{s.title} ({s.unit})" if s.unit else s.title, f"{s.value:.4g}") for s in scores]
        parts.append(
            f"## Scores\n\nMeans on {scores[0].images}.\n\n" + _table(("metric", "value"), rows)
        )
    options = [(f"`{key}`", f"`{value!r}`") for key, value in stored.options.items()]
    if options:
        parts.append("## Options\n\n" + _table(("option", "value"), options))
    parts.append(
        "## Use\n\n```python\nimport zoo\n\n"
        f'colorizer = zoo.load("{info.name}", weights="hf:OWNER/REPOSITORY")\n'
        "colour = colorizer.predict(grey)\n```\n"
    )
    return "\n".join(parts)


def _table(headings: tuple[str, str], rows: Sequence[tuple[str, str]]) -> str:
    lines = [headings, ("---", "---"), *rows]
    cells = [[" ".join(text.split()).replace("|", "\\|") for text in line] for line in lines]
    return "".join(f"| {left} | {right} |\n" for left, right in cells)
