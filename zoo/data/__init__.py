"""Images for training and tests.

`dataset` is the interface of sources of images, `containers` takes what a caller has, and `tiles`
makes square tiles of files, once.
"""
