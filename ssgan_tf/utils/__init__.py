"""What any TensorFlow project could use: files, tables, pictures, devices."""
