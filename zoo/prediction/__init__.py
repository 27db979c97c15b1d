"""The parts of a prediction around the network.

`batch_size` groups images by shape into batches, and `merge` joins predicted chroma with the
lightness at full size.
"""
