"""`python -m zoo.cli.probe GROUP NAME`: imports one plugin and prints its status as JSON."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator

from zoo import plugins, registry
from zoo.plugins import Plugin

MARK = "zoo.cli.probe:"

# An import that takes longer is worth a word: every command that needs the plugin waits for it.
SLOW_SECONDS = 10.0
_LONGEST_QUOTE = 60


def main(group: str, name: str) -> None:
    """Prints the mark and the plugin's status on a line of their own."""
    plugin = probe(group, name)
    sys.stdout.flush()
    # Past `sys.stdout`, which a plugin may have replaced.
    os.write(1, f"\n{MARK}{json.dumps(dataclasses.asdict(plugin))}\n".encode())


def probe(group: str, name: str, slow_seconds: float = SLOW_SECONDS) -> Plugin:
    """The plugin with its status, and warnings of what its import does beside importing.

    Raises:
        UnknownNameError: nothing of that name is installed.
    """
    # What every plugin of the group needs anyway is imported before the clock starts.
    registry.base_class(group)
    warnings: list[str] = []
    with _watch_state(group, warnings), _watch_output(warnings):
        start = time.monotonic()
        plugin = registry.check(group, name)
        seconds = time.monotonic() - start
    if seconds > slow_seconds:
        warnings.append(f"takes {seconds:.1f} s to import")
    return dataclasses.replace(plugin, warnings=tuple(warnings))


@contextlib.contextmanager
def _watch_state(group: str, warnings: list[str]) -> Iterator[None]:
    """Adds a warning for each global state of the process that the block changes."""
    if group == plugins.DATASETS:  # they need no torch, and `zoo datasets` waits for none
        yield
        return
    from zoo.testing.global_state import changed_since, read_global_state

    before = read_global_state()
    yield
    if changes := changed_since(before):
        warnings.append(f"changes global state when imported: {', '.join(changes)}")


@contextlib.contextmanager
def _watch_output(warnings: list[str]) -> Iterator[None]:
    """Adds a warning for what the block writes to stdout, in whatever way; it is not shown."""
    with tempfile.TemporaryFile() as caught, open(os.dup(1), "wb") as real:  # noqa: PTH123
        sys.stdout.flush()
        os.dup2(caught.fileno(), 1)
        try:
            yield
        finally:
            # The plugin may have closed it.
            with contextlib.suppress(ValueError, OSError):
                sys.stdout.flush()
            os.dup2(real.fileno(), 1)
        caught.seek(0)
        lines = caught.read().decode(errors="replace").split("\n")
    printed = next((line.strip() for line in lines if line.strip()), "")
    if printed:
        short = printed if len(printed) <= _LONGEST_QUOTE else f"{printed[:_LONGEST_QUOTE]}…"
        warnings.append(f"prints when imported: {short!r}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
