"""Files that serve a pushed model with stock images: `polymodal deploy`."""
