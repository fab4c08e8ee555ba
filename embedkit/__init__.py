"""embedkit: train, mine for and benchmark text-embedding retrievers from one recipe file."""

from embedkit._version import __version__

__all__ = ["__version__"]
