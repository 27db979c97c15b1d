"""A plugin whose import ends the process."""

import sys

sys.exit("a license key is missing")
