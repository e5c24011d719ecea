"""Whether a cluster and the storage of its runs are ready: what its nodes see, and what is to be said of it."""
