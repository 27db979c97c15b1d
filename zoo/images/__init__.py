"""Photographs as files: opened safely, kept whole, written back.

`open` makes an 8-bit array of any image file, `photograph` keeps all that a file holds, and
`write` writes it. The others each know one format or one kind of metadata.
"""
