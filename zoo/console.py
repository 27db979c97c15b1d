"""The console that everything is printed on: what it is told to show, it shows as it reads.

Names of files, titles in a run, a server's reasons and texts of plugins come from elsewhere. No
sequence in them reaches the terminal as an order, and none is taken for markup.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from zoo.text import visible


class PlainConsole(Console):
    """A console without markup and emoji codes, on which no text can give the terminal orders.

    It wraps for people and never for pipes.
    """

    def __init__(self, **keywords: Any) -> None:
        super().__init__(markup=False, emoji=False, **keywords)
        # Not `is_terminal`, which FORCE_COLOR makes true of a pipe as well.
        if not (self.file.isatty() if hasattr(self.file, "isatty") else self.is_terminal):
            self.width = 10_000

    def render_str(self, text: str, **keywords: Any) -> Text:
        """Text as it will be printed, so that its width is known right."""
        return super().render_str(visible(text), **keywords)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """What is printed of anything; the console's own orders pass."""
        for segment in super().render(renderable, options):
            text = visible(segment.text)
            unsafe = not segment.control and text != segment.text
            yield Segment(text, segment.style) if unsafe else segment
