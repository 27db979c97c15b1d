"""The colorizer zoo: black-and-white-photo colorizers behind one fit/predict interface.

    >>> import zoo
    >>> colour = zoo.colorize("old.jpg")                  # doctest: +SKIP
    >>> colorizer = zoo.load("zhang_rebalanced")          # doctest: +SKIP
    >>> colorizer.fit(photographs, budget="10min")        # doctest: +SKIP
    >>> colour = colorizer.predict(grey_photograph)       # doctest: +SKIP

Importing this package does not import torch; that happens when a colorizer is loaded.
"""

from zoo._version import __version__
from zoo.default import colorize
from zoo.errors import ZooError
from zoo.registry import list_colorizers, load

__all__ = ["ZooError", "__version__", "colorize", "list_colorizers", "load"]
