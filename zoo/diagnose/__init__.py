"""Diagnoses of a method: does it learn, at which rate, with which colours.

`overfit` trains on one image, `bleeding` measures colour over edges, `learning_rate` is the range
test, and the other modules draw.
"""
