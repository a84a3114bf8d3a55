"""Scores of generated images: feature extractors, metrics and their protocol.

Images in, scores out: nothing here imports the networks or the training code.
"""
