"""`report.md`: the table of a run, to be pasted where Markdown is read."""

from __future__ import annotations

import shlex

from zoo.files import write_text
from zoo.text import one_line
from zoo_benchmark.results.columns import ShownTable
from zoo_benchmark.results.conditions import ShownConditions
from zoo_benchmark.results.run_folder import Run


def write_markdown(run: Run, shown: ShownTable, conditions: ShownConditions | None = None) -> None:
    """Writes `report.md` into the run's folder."""
    manifest = run.manifest
    metrics = [column.name for column in shown.ordered_metrics(manifest["metrics"])]
    facts = shown.facts_in("markdown")
    lines = [f"# {_text(manifest['title'])}", ""]
    lines += [f"- {_text(note)}" for note in manifest["notes"]]
    columns = [*(shown.metrics[name] for name in metrics), *facts]
    headings = ["model", *metrics, *(column.title for column in facts), "status"]
    ruler = ["---", *("---" if column.words else "---:" for column in columns), "---"]
    groups = shown.groups
    last = groups[-1]
    for group in groups:
        if shown.given_note and group is last:
            lines += ["", f"**{shown.given_note[0].upper()}{shown.given_note[1:]}.**"]
        lines += ["", f"| {' | '.join(headings)} |", f"| {' | '.join(ruler)} |"]
        for row in (*group, *(shown.references if group is last else ())):
            cells = [row.cells[column.name] for column in columns]
            texts = [_text(f"{cell.text} {cell.half}") for cell in cells]
            name = f"{'≈ ' * row.alike}{_text(row.label)}{row.name.removeprefix(row.label)}"
            lines.append(f"| {name} | {' | '.join(texts)} |{f' {_text(row.status)}'.rstrip()} |")
    lines += [
        "",
        "±: half the 95 % interval over images. ≈: cannot be told from the row above.",
        *(line for note in shown.footnotes for line in ("", _text(note))),
        "",
        *(_conditions(conditions) if conditions is not None else ()),
        f"    {one_line(shlex.join(manifest['command']))}",
        "",
        "![samples](samples.png)",
        "",
        "More in [report.html](report.html).",
        "",
    ]
    write_text(run.folder / "report.md", "\n".join(lines))


def _conditions(shown: ShownConditions) -> list[str]:
    lines = ["## Conditions", "", _text(shown.note), "", f"| model | {' | '.join(shown.names)} |"]
    lines.append("| --- |" + " ---: |" * len(shown.names))
    lines += [
        f"| {_text(label)} | {' | '.join(row.values())} |" for label, row in shown.rows.items()
    ]
    return [*lines, ""]


def _text(text: str) -> str:
    """Text that means nothing in Markdown or HTML, in one line."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, "\\" + character)
    return one_line(text)
