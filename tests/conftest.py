"""Fixtures of several files: imported into each, one for a whole session would exist once a file."""

from slurm_calls import offline, recipe, tool  # noqa: F401
from slurm_cluster import cluster  # noqa: F401
