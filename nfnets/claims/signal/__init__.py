"""Claims on the signal in networks at initialization."""
