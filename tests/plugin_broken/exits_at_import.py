"""A plugin whose import ends the process."""

import sys

sys.exit("a licence key is missing")
