"""The parts of a prediction around the network.

`engine` is the whole way from grey planes to colour. `working_size` says how large the network
sees a photograph, `batch_size` groups images by shape into batches, and `merge` joins predicted
chroma with the lightness at full size.
"""
