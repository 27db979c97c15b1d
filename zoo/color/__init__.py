"""The colour science.

`lab` has the units and conversions, `bins` the 313 classes of chroma, `soft_encoding` soft
targets and decoding, and `prior` the weights of classes.
"""
