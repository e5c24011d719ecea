"""Self-contained HTML pages, from run folders alone."""
