"""Search spaces: architectures as values, what they cost, and the records that travel with them."""
