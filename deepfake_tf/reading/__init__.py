"""From a file's bytes to RGB pixels: header, limits, decoding, by TensorFlow and by Pillow."""
