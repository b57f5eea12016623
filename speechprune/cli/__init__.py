"""The ``speechprune`` command. Heavy imports happen inside its bodies, so that --help is quick."""

from speechprune.cli import composing, stages, tools
from speechprune.cli.base import main

__all__ = ["composing", "main", "stages", "tools"]
