"""One run of ask and tell: its plan, its loop, its cache of scores, and growth's plan."""
