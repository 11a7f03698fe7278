"""Files of other tools: containers (npz, npy, .mat, HDF5), layouts, and how both become CSI.

`container` opens the named arrays of a file, `presets` and `readings` propose how they are read,
`evidence` judges a proposal by its power, `reader` reads.
"""
