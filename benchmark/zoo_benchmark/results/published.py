"""Numbers that papers published: shown below measured ones, never ranked among them.

`published.csv` has a row per number: `protocol` (the name of the split's protocol; empty where
the source does not say), `method`, `year`, `parameters_m` (millions), `metric` (the column that
it stands in), `value`, `confidence`, `source` (a paper, or OWNER/REPOSITORY:FILE, or a thread
OWNER/REPOSITORY#NUMBER) and `note`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

from zoo.errors import UnknownNameError
from zoo_benchmark.results.columns import NOTHING, metric_column

FILE = Path(__file__).with_name("published.csv")

CONFIDENCE = {
    "A": "read in the authors' own code or thread",
    "B": "two independent transcriptions agree",
    "C": "one transcription of a paper's table",
}
"""How sure a number is."""


@cache
def _everything() -> pd.DataFrame:
    return pd.read_csv(FILE, keep_default_na=False, converters={"value": float})


def published(protocol: str | None = None) -> pd.DataFrame:
    """The published numbers, a row each, of one protocol or of all.

    Args:
        protocol: with or without its version.

    Raises:
        UnknownNameError: nothing was published for such a protocol.
    """
    table = _everything()
    if protocol is None:
        return table
    name = protocol.partition("@")[0]
    known = [each for each in table["protocol"].unique() if each]
    if name not in known:
        raise UnknownNameError(
            "protocol with published numbers", protocol, known, "See zoo protocols."
        )
    return table[table["protocol"] == name]


def published_rows(protocol: str) -> pd.DataFrame | None:
    """A row per method: `model`, and what it published by column; None where there is nothing."""
    table = _everything()
    of_it = table[table["protocol"] == protocol]
    if of_it.empty:
        return None
    wide = of_it.pivot_table(index="method", columns="metric", values="value", sort=False)
    return wide.reset_index().rename(columns={"method": "model"}).rename_axis(columns=None)


def published_notes(protocol: str) -> list[str]:
    """The line that stands below a table with published rows."""
    if published_rows(protocol) is None:
        return []
    return [
        "published: not measured here, each by its authors' own code, and never ranked; "
        f"sources: zoo published {protocol}."
    ]


def as_text(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of text: a row per method, a column per metric."""
    metrics = list(dict.fromkeys(table["metric"]))
    titles = [metric_column(name).title for name in metrics]
    rows = []
    for _, of_method in table.groupby(["protocol", "method"], sort=False):
        first = of_method.iloc[0]
        values = dict(zip(of_method["metric"], of_method["value"], strict=True))
        numbers = [_text(values[m]) if m in values else NOTHING for m in metrics]
        facts = [first["method"], str(first["year"]), str(first["parameters_m"]) or NOTHING]
        rows.append([*facts, *numbers, first["confidence"], first["source"], first["note"]])
    headings = ["method", "year", "parameters M", *titles, "confidence", "source", "note"]
    return headings, rows


def _text(value: float) -> str:
    return f"{value:.2f}" if round(value, 2) == value else f"{value:g}"
