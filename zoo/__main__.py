"""The command `zoo` as a program; `python -m zoo` is the same."""

import gc
import sys

from zoo.cli.main import main

_OBJECTS_BETWEEN_SEARCHES = 20_000


def program() -> int:
    """Runs the command line in this process, which ends with it, and returns the exit code."""
    # PyTorch and timm make objects by the hundred thousand when they are imported: Python would
    # search them for cycles all along, and once more at the end, for a second and a half.
    gc.set_threshold(_OBJECTS_BETWEEN_SEARCHES)
    code = main()
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(program())
