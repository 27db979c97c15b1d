"""The outputs of a run for people: terminal, Markdown, HTML and pictures.

`terminal` has the table of the command line, `html` the report; `redraw` makes anew all that
follows from a run's cells.
"""
