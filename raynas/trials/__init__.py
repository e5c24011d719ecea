"""What trials of Ray Tune share with their driver: the folder by which they meet, on whatever nodes they are."""
