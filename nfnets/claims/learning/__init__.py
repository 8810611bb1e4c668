"""Claims on training: clipping, regularization, averages, sharpness, transfer."""
