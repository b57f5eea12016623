"""Packaging of speechprune: the library, the recipes (as ``speechprune.recipes``) and the command."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["speechprune", "speechprune.*"]), "speechprune.recipes"],
    package_dir={"speechprune.recipes": "recipes"},
    package_data={
        "speechprune.training.mini": ["checkpoint/*"],
        "speechprune.construction": ["*.yaml"],
        "speechprune.report.page": ["*.html", "*.css", "*.js"],
    },
)
