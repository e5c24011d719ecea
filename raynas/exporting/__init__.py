"""Out of raynas: a found network as plain torch and timm code with its weights."""
