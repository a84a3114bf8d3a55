"""Scores of generated images: feature extractors, metrics and their protocol.

Nothing here imports the networks or the training code: images go in, numbers
come out.
"""
