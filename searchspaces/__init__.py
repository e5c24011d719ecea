"""Search spaces, one module per family; raynas finds them by name through entry points."""
