"""Dataset builders of our own: they prepare without TensorFlow and without a download."""
