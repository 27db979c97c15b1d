"""What `zoo bench` shows while it works: bars for people, lines for pipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from zoo_benchmark.run.executor import Task
from zoo_benchmark.run.trial_spec import OK, Spec


def row_name(spec: Spec) -> str:
    """The row of a trial or timing, with its repetition where there are several."""
    return f"{spec.label} #{spec.repetition}" if spec.repetition else spec.label


class Reporter:
    """A bar per task for people, a line per result for pipes."""

    def __init__(self, bars: Progress, console: Console) -> None:
        self._bars, self._console = bars, console
        self._tasks: dict[str, TaskID] = {}

    def progress(self, task: Task, state: dict[str, Any]) -> None:
        """Shows what a task says of itself."""
        loss = f" loss {state['loss']:.3f}" if state.get("loss") is not None else ""
        share = state["share"] if state["stage"] == "training" else 1.0
        self._bars.update(self._bar(task), completed=share, state=state["stage"] + loss)

    def done(self, task: Task, result: Mapping[str, Any]) -> None:
        """Shows how a task ended."""
        if result["status"] != OK:
            state = f"FAILED: {result['error']}"
        elif "training" in result:
            cost = result["training"]["cost"]
            state = f"done: {cost['steps']} steps in {cost['seconds']:.1f} s"
        else:
            state = ", ".join(
                f"{row['images_per_s']:,.0f} images/s on {row['device']}"
                for row in result["throughput"]
            )
        self._bars.update(self._bar(task), completed=1.0, state=state)
        say(self._console, f"{row_name(task.spec)}: {state}")

    def _bar(self, task: Task) -> TaskID:
        if task.key not in self._tasks:
            name = row_name(task.spec)
            self._tasks[task.key] = self._bars.add_task(name, total=1.0, state="starting")
        return self._tasks[task.key]


def say(console: Console, line: str) -> None:
    """Prints a line where there are no bars to watch."""
    if not console.is_terminal:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def progress_bars(console: Console) -> Progress:
    """Bars for a terminal; nothing for a pipe."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[state]}", markup=False),
        console=console,
        disable=not console.is_terminal,
    )


def bar_callback(bars: Progress, task: TaskID) -> Callable[[str, int, int], None]:
    """What a dataset or download reports its progress to."""

    def update(what: str, done: int, total: int) -> None:
        bars.update(task, completed=done, total=total or None, state=what)

    return update
