"""One run of ask and tell: what it computes, its plan, its loop, its cache of scores, and growth's plan."""
