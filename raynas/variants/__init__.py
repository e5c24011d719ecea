"""Trainings of one network under different settings, against each other."""
