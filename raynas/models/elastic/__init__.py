"""Weight-sharing supernets: one large network, whose members compute with the first parts of its tensors."""
