"""Packaging of speechprune: the library, the command, and the rooms that stand beside the library in a checkout.

Installed, recipes/, local/, utils/ and egs/ are folders of the package (``speechprune.common.rooms`` finds them).
"""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOMS = ("recipes", "local", "utils", "egs")


class BuildPy(build_py):
    """Leaves Python files executable that are, such as utils/run.py."""

    def build_module(self, module, module_file, package):
        built = super().build_module(module, module_file, package)
        shutil.copymode(module_file, built[0])
        return built


setup(
    packages=[
        *find_packages(include=["speechprune", "speechprune.*"]),
        *(f"speechprune.{room}" for room in ROOMS),
        *(f"speechprune.utils.{init.parent.name}" for init in sorted(Path("utils").glob("*/__init__.py"))),
    ],
    package_dir={f"speechprune.{room}": room for room in ROOMS},
    package_data={
        "speechprune.training.mini": ["checkpoint/*"],
        "speechprune.construction": ["*.html", "*.yaml", "prompts/*.txt"],
        "speechprune.recipes": ["*.yaml"],
        "speechprune.local": ["*.sh"],
        "speechprune.utils": ["*.sh", "*.conf"],
        "speechprune.egs": ["*/run.sh", "*/conf/*.yaml", "*/recipes/*.py"],
        "speechprune.report.page": ["*.html", "*.css", "*.js"],
    },
    exclude_package_data={"speechprune.local": ["site.sh"]},
    cmdclass={"build_py": BuildPy},
)
