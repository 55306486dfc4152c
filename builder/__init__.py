"""`build`: declarative VM images for Azure. Specs in git, a plan in the pull request, apply makes exactly that."""

__version__ = "0.1.0"
