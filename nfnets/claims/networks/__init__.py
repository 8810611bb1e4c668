"""Claims on the networks themselves."""
