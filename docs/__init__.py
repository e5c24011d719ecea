"""The documentation: pages, and `docs.generated`, which makes the parts of them that follow from the code."""
