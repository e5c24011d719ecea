"""What trials of Ray Tune share with their driver, on whatever nodes they are; and trainings that are such trials."""
