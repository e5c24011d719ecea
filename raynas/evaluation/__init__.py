"""What trained networks are worth on labelled images: accuracy with its uncertainty, of each class, of each image."""
