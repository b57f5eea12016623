"""Commands about folders: to run in, and to publish."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from speechprune.cli.base import PATH, command


@command
def recipes() -> None:
    """List the recipes that `speechprune clone` copies."""
    from speechprune.data import clones

    found = clones.recipes()
    width = max(map(len, found))
    for name, about in found.items():
        click.echo(f"{name:{width}}  {about}")


@command
@click.argument("recipe")
@click.argument("folder", type=PATH)
def clone(recipe: str, folder: Path) -> None:
    """Make FOLDER to run RECIPE in, its run.sh and conf/; see `speechprune recipes`."""
    from speechprune.data import clones

    logging.info("made %s; go on with: cd %s && ./run.sh --help", clones.clone(recipe, folder), folder)


@command
@click.argument("name")
@click.argument("folder", type=PATH)
def new(name: str, folder: Path) -> None:
    """Make FOLDER for a corpus of your own, called NAME: a recipe that works, to be changed.

    docs/adding-a-corpus.md goes on from there. In the egs/ of a checkout, the corpus goes into its recipes/.
    """
    from speechprune.data import clones

    logging.info("made %s; what to do next stands in docs/adding-a-corpus.md", clones.begin(name, folder))


@command
def home() -> None:
    """Print the folder that holds local/, utils/, recipes/ and egs/."""
    from speechprune.common.rooms import room

    click.echo(room("local").parent)


@command
@click.argument("exp", type=PATH)
@click.option("--corpus", required=True, help="Name of the corpus: its recipe says whose it is.")
def card(exp: Path, corpus: str) -> None:
    """Write EXP/README.md, a dataset card for the hub: parts, corpus, licence, tables, figures, commands."""
    from speechprune.report.card import upload_line, write_card

    for problem in write_card(exp, corpus):
        logging.warning("before you publish: %s", problem)
    click.echo(f"wrote {exp / 'README.md'}; to publish the folder:\n{upload_line(exp)}")


@command
@click.argument("cuts", type=PATH)
@click.argument("out", type=PATH)
def lmms_tasks(cuts: Path, out: Path) -> None:
    """Make tasks of lmms-eval in OUT from prepared CUTS, a file or folder; docs/integrations.md goes on from there."""
    from speechprune.data.cuts import Problem
    from speechprune.integrations.lmms_tasks import write_tasks

    problems: list[Problem] = []
    names = write_tasks(cuts, out, problems)
    for problem in problems:
        logging.warning("%s", problem)
    tasks = f"--tasks {','.join(names)} --include_path {out}"
    click.echo(f"lmms-eval eval --model speechprune --model_args pretrained=mini {tasks}")
