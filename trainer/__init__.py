"""Keras: what a model is and how it learns."""
