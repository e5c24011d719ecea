"""Training of an architecture: its configuration, objective, loop, checkpoints and folder."""
