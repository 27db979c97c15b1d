"""The progress of `zoo bench`: bars for people, lines for pipes; the display is handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from zoo_benchmark.run.executor import Task
from zoo_benchmark.run.trial_spec import OK, ConditionSpec, Spec

Bar = Callable[[str, float, float], None]
"""Called with a task's state, how much of it is done, and of how much (0: not known)."""


class Display(Protocol):
    """The display of a comparison's work; the command line's bars are one."""

    def bar(self, name: str) -> Bar:
        """Adds a bar; returns what to call with its state."""

    def say(self, line: str) -> None:
        """Shows a line where there are no bars to watch."""


def row_name(spec: Spec) -> str:
    """The row of a task, with its repetition where there are several, and its condition."""
    row = f"{spec.label} #{spec.repetition}" if spec.repetition else spec.label
    return f"{row}, {spec.condition}" if isinstance(spec, ConditionSpec) else row


class Reporter:
    """A bar per task for people, a line per result for pipes."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._bars: dict[str, Bar] = {}

    def progress(self, task: Task, state: dict[str, Any]) -> None:
        """Shows the state of a task that is running."""
        loss = f" loss {state['loss']:.3f}" if state.get("loss") is not None else ""
        share = state["share"] if state["stage"] == "training" else 1.0
        self._show(task, state["stage"] + loss, share)

    def done(self, task: Task, result: Mapping[str, Any]) -> None:
        """Shows how a task ended."""
        if result["status"] != OK:
            state = f"FAILED: {result['error']}"
        elif "training" in result:
            cost = result["training"]["cost"]
            state = f"done: {cost['steps']} steps in {cost['seconds']:.1f} s"
        elif isinstance(task.spec, ConditionSpec):
            state = f"scored in {result['seconds']['scoring']:.1f} s"
        elif "throughput" not in result:
            state = "done: scored"
        else:
            state = ", ".join(
                f"{row['images_per_s']:,.0f} images/s on {row['device']}"
                for row in result["throughput"]
            )
        self._show(task, state, 1)
        self._display.say(f"{row_name(task.spec)}: {state}")

    def _show(self, task: Task, state: str, share: float) -> None:
        key, name = task.key, row_name(task.spec)
        if isinstance(task.spec, ConditionSpec):
            # One bar for all of them: there are many, and each is soon over.
            key, name, state = "", "conditions", f"{name}: {state}"
        if key not in self._bars:
            self._bars[key] = self._display.bar(name)
        self._bars[key](state, share, 1)
