"""`python -m zoo.cli.check GROUP NAME`: imports one plugin and prints its status as JSON."""

import dataclasses
import json
import sys

from zoo import registry

sys.stdout.write("\n" + json.dumps(dataclasses.asdict(registry.check(sys.argv[1], sys.argv[2]))))
