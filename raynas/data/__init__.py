"""Images in: one file for each kind of source."""
