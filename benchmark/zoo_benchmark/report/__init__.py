"""How results look: terminal, Markdown, HTML and pictures.

`terminal` has the table of the command line, `html` the report.
"""
