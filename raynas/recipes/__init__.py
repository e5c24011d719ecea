"""Published settings by name: files of YAML, one for each recipe, and what reads them."""
