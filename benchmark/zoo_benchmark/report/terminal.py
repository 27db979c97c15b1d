"""The table at the end of `zoo bench`, for a terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from zoo_benchmark.results.columns import NOTHING, REFERENCES, Column, ShownRow, ShownTable
from zoo_benchmark.results.conditions import ShownConditions

_STATUS_WIDTH, _RULE = 12, 3


def leaderboard_to_rich(shown: ShownTable, width: int = 10_000) -> Table:
    """A rich table of a leaderboard; floors are dimmed and marked, failures say why.

    With statistics, ± is half the 95 % interval over images, ≈ marks a row that cannot be told
    from the row above it, and with several seeds their standard deviation has a column of its
    own. Given weights, ceilings and published numbers stand below lines. Columns that do not fit
    into `width` are left to `leaderboard.csv`, and the caption says so.

    Args:
        shown: the table, a row per model in the order of the ranking.
        width: the terminal's, in characters.
    """
    columns = _columns(shown)
    names = [row.name for row in (*shown.rows, *shown.references)]
    name_width = max([cell_len("model"), *map(cell_len, names)])
    widths = {name: column.width for name, column in columns.items()}
    hidden = []
    for name in sorted(columns, key=lambda name: columns[name].keep):
        needed = name_width + sum(w + _RULE for w in widths.values()) + _RULE + _STATUS_WIDTH
        if needed <= width or math.isinf(columns[name].keep):
            break
        hidden.append(name)
        del widths[name]

    table = Table(show_edge=False, pad_edge=False)
    fits = name_width + _RULE + _STATUS_WIDTH <= width
    table.add_column("model", no_wrap=fits, overflow="fold", min_width=name_width if fits else None)
    for name, least in widths.items():
        heading = columns[name].heading
        table.add_column(heading, justify="right", no_wrap=True, overflow="ignore", min_width=least)
    table.add_column("status", overflow="fold", min_width=2)
    ends = (len(shown.groups[0]), len(shown.rows), len(shown.rows) + len(shown.ceilings))
    for number, row in enumerate((*shown.rows, *shown.references)):
        cells = [columns[column].cells[number] for column in widths]
        failed = row.status not in ("ok", "")
        style = "red" if failed else "dim" if row.kind in REFERENCES else ""
        last = number + 1 in ends
        table.add_row(Text(row.name), *cells, Text(row.status), style=style, end_section=last)
    captions = [*filter(None, [shown.given_note]), *_legend(shown)]
    if hidden:
        captions.append("in a wider terminal and in leaderboard.csv: " + ", ".join(hidden))
    captions += shown.footnotes
    if captions:
        table.caption = "\n".join(captions)
        table.caption_justify = "left"
    return table


def conditions_to_rich(shown: ShownConditions, width: int) -> Table:
    """A rich table of rows under conditions; lies on its side where the terminal is narrow."""
    cells = [list(row.values()) for row in shown.rows.values()]
    labels, names = list(shown.rows), shown.names
    needed = max(map(cell_len, labels)) + sum(max(9, len(name)) + _RULE for name in names)
    if needed > width:
        labels, names, cells = names, labels, [list(column) for column in zip(*cells, strict=True)]
    table = Table(show_edge=False, pad_edge=False, title=shown.metric.title, title_justify="left")
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(Text(name), justify="right", overflow="fold")
    for label, row in zip(labels, cells, strict=True):
        table.add_row(Text(label), *row)
    return table


@dataclass(frozen=True)
class _Column:
    """A column of the terminal's table: heading, cells, and how long it stays in a narrow one."""

    heading: str
    cells: list[str]
    keep: float

    @property
    def width(self) -> int:
        texts = (self.heading, *self.cells)
        return max(cell_len(line) for text in texts for line in text.split("\n"))


def _columns(shown: ShownTable) -> dict[str, _Column]:
    """Every column in which anything was measured."""
    rows = (*shown.rows, *shown.references)
    columns = {}
    for column in shown.metrics.values():
        name, heading = column.name, column.heading
        if shown.truths.get(name):
            heading += f" → {shown.truths[name]}"
        cells = [_text(shown, column, row) for row in rows]
        columns[name] = _Column(heading, cells, column.keep)
        keep = shown.seeds_keep(column)
        if keep is not None:
            spread = [row.cells[name].seeds or NOTHING for row in rows]
            columns[f"{name}_seed_std"] = _Column(f"{heading.split()[0]}\nseeds s", spread, keep)
    for column in shown.facts_in("terminal"):
        cells = [row.cells[column.name].text for row in rows]
        columns[column.name] = _Column(column.heading, cells, column.keep)
    return columns


def _text(shown: ShownTable, column: Column, row: ShownRow) -> str:
    cell = row.cells[column.name]
    mark = "≈" * (row.alike and column.name == shown.ranking)
    brief = column.metric is not None and column.metric.brief
    return f"{mark}{cell.text} {cell.half}" if cell.half and not brief else f"{mark}{cell.text}"


def _legend(shown: ShownTable) -> list[str]:
    cells = [cell for row in shown.rows for cell in row.cells.values()]
    if not any(cell.half for cell in cells):
        return []
    words = ["±: half the 95 % interval over images"]
    if any(row.alike for row in shown.rows):
        words.append("≈: cannot be told from the row above")
    if any(cell.seeds for cell in cells):
        words.append("seeds s: standard deviation over seeds")
    return ["; ".join(words)]
