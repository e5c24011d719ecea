"""Mean and standard deviation of ImageNet's pixels, by which images are normalised before a network sees them."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
