"""Networks: their parts by role, draws of weights, feature maps, teachers; the families stand in `families`."""
