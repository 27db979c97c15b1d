"""`python -m zoo.cli.check GROUP NAME`: imports one plugin and prints its status as JSON."""

import dataclasses
import json
import os
import sys

from zoo import registry

MARK = "zoo.cli.check:"


def main(group: str, name: str) -> None:
    """Prints the mark and the plugin's status on a line of their own."""
    plugin = registry.check(group, name)
    sys.stdout.flush()
    # Past `sys.stdout`, which a plugin may have replaced.
    os.write(1, f"\n{MARK}{json.dumps(dataclasses.asdict(plugin))}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
