"""`python -m zoo` is the command `zoo`."""

import sys

from zoo.cli.main import main

sys.exit(main())
