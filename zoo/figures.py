"""Figures as matplotlib draws them by default, whatever settings of it a user has.

The one place that imports matplotlib. The user's `matplotlibrc` (LaTeX, styles, fonts) and
`MPLBACKEND` are for pictures of the user's own: they change none of the zoo's, and cannot end a
training that a picture is drawn of.
"""

# ruff: noqa: E402 - the first import of matplotlib is a matter of its own
from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from zoo.files import atomic_path
from zoo.text import visible

_VARIABLES = ("MPLBACKEND", "MATPLOTLIBRC")


def _import_without_settings() -> None:
    """Imports matplotlib past settings that it cannot be imported with."""
    spec = find_spec("matplotlib")
    assert spec is not None and spec.origin is not None
    its_own = Path(spec.origin).parent / "mpl-data"
    # What a failed import leaves behind knows nothing of a second one.
    for name in [n for n in sys.modules if n.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]
    kept = {name: os.environ.pop(name) for name in _VARIABLES if name in os.environ}
    os.environ["MATPLOTLIBRC"] = str(its_own / "matplotlibrc")
    try:
        # A matplotlibrc in the folder one works in goes before any other.
        with contextlib.chdir(its_own):
            import matplotlib  # noqa: F401
    finally:
        del os.environ["MATPLOTLIBRC"]
        os.environ.update(kept)


try:
    import matplotlib  # noqa: F401
except ImportError:
    raise
except Exception:  # an unknown backend, or a matplotlibrc that is no text
    _import_without_settings()

from matplotlib import colormaps, rc_context, rcdefaults
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullLocator

ERROR_SCALE = 60.0
"""The ab distance that an error map shows in its brightest colour."""

__all__ = [
    "ERROR_SCALE",
    "Axes",
    "Figure",
    "LogLocator",
    "LogNorm",
    "NullLocator",
    "PatchCollection",
    "Rectangle",
    "colormaps",
    "figure",
]


@contextlib.contextmanager
def figure(
    target: Path | IO[bytes], *, transparent: bool = False, **keywords: Any
) -> Iterator[Figure]:
    """Yields an empty figure, and writes it as PNG once the block has drawn it.

    Args:
        target: the PNG to write, atomically; or a stream.
        transparent: whether what is behind the drawing shows through.
        keywords: as `matplotlib.figure.Figure` takes them.
    """
    with rc_context(), warnings.catch_warnings():
        rcdefaults()
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        drawn = Figure(**keywords)
        yield drawn
        for text in drawn.findobj(Text):
            text.set_text(visible(text.get_text()).encode("utf-8", "replace").decode())
        if isinstance(target, Path):
            with atomic_path(target) as partial:
                drawn.savefig(partial, format="png", transparent=transparent, backend="agg")
        else:
            drawn.savefig(target, format="png", transparent=transparent, backend="agg")
