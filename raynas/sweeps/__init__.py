"""Whole searches side by side, with several seeds each, as Ray Tune trials."""
