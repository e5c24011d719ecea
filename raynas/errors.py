"""The errors raynas raises on purpose; everything else is a defect."""


class RaynasError(Exception):
    """Base of all errors that a user can cause and mend."""


class UnknownNameError(RaynasError, KeyError):
    """A space, model, proxy, searcher or setting that does not exist; the message lists those that do."""

    def __str__(self) -> str:
        # KeyError would print the message in quotes.
        return str(self.args[0]) if self.args else ""


class ConfigError(RaynasError, ValueError):
    """A setting, or a combination of settings, that cannot be run."""


class SpaceError(RaynasError, ValueError):
    """An architecture outside its space's grammar, or text that cannot be read as one."""


class DataError(RaynasError, ValueError):
    """Images or labels that cannot be read."""


class StoreError(RaynasError, RuntimeError):
    """A run folder that cannot be used: locked, of another run, or not writable."""


class ProxyError(RaynasError, RuntimeError):
    """A proxy that cannot be computed on this model."""


class NotApplicableError(ProxyError):
    """The model lacks something that a proxy needs; the message names it."""


class PoolError(RaynasError, RuntimeError):
    """Workers that cannot be started or reached."""


class TrainingError(RaynasError, RuntimeError):
    """A training that cannot go on."""
