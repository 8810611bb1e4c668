"""Claims on the statistics of batch normalization."""
