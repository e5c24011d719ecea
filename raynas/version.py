"""The version, which reports and exports state."""

__version__ = "0.1.0"
