"""Search spaces: architectures as values, what they cost, and the records that travel with them.

A space may say which of its architectures are uniform, blocks all alike and widths in proportion;
`raynas.space.uniform.uniform_of_cost` takes the one of a given cost, so that what a search has found can be set beside
it. Of the built-in spaces, as-vit, autoformer-*, pit-*, vit, vit-elastic and vit-res-* say it; resnet, whose
architectures are all of one kind, and timm, whose models have no blocks in common, have none.
"""
