"""Whole photographs, from file to file.

`plan` says what is to be made of which file, and `run` does it.
"""
