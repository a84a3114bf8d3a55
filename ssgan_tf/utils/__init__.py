"""Helpers that any TensorFlow project could use: files, processes, plots, devices."""
