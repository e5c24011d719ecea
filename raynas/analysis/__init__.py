"""What trained networks have learned: likeness of layers, attention, ranks; tables and one page."""
