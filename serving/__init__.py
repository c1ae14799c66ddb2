"""How a pushed SavedModel answers: model server, client and media transcoding.

This package knows SavedModels and TF Serving's protos and nothing else of the project,
so it can be deployed alone. Submodules are imported by name; importing the package
itself is free.
"""
