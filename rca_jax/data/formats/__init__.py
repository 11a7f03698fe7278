"""The field's file formats: one module each, all to `CsiGroups` of numpy arrays.

A module has `recognises(arrays)` and `read(arrays, config)`, which yields chunks of groups;
`arrays` are those of `container.open_arrays`.
"""
