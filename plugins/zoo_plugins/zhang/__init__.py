"""Colorization as classification over 313 ab bins (Zhang, Isola, Efros, ECCV 2016).

Read in this order: `network` (the eight blocks), `zoo.color.soft_encoding` (soft targets and
decoding), `zoo.color.prior` (class weights from a prior), `classifier` (the two plugins).
"""
