"""A plugin whose import raises."""

raise RuntimeError("the wrong version of something else")
