"""The ``speechprune`` command. Heavy imports happen inside its bodies, so that --help is quick."""

from speechprune.cli import construction, doctor, folders, speech, stages, tools, training
from speechprune.cli.base import main

__all__ = ["construction", "doctor", "folders", "main", "speech", "stages", "tools", "training"]
