"""The best of a search, to be trained against each other."""
