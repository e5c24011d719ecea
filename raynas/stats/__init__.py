"""Statistics on columns of numbers, in numpy and scipy alone."""
