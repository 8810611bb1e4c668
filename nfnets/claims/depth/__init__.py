"""Claims on networks of many blocks, and on how fast they can learn."""
