"""Weights: the file format, and what others publish.

`file` reads and writes weights with the `record` of their training, `published` lists and fetches
those that packages announce in a `manifest`, and `download` gets any file, verified.
"""
