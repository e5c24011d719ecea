"""Ray itself: joining, resources, code on workers, and what all Tune runs share."""
