"""What claims share: images, training, networks, grids and pictures."""
