"""The best of a search trained against each other as Ray Tune trials."""
