"""Colorization as classification over 313 ab bins (Zhang, Isola, Efros, ECCV 2016).

Read in this order: `network` (the eight blocks), `encoding` (soft targets and decoding),
`rebalancing` (class weights from the training set's prior), `classifier` (the two plugins).
"""
