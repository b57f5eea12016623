"""Commands before a long run: what is missing, and how long it will take."""

from __future__ import annotations

from pathlib import Path

import click

from speechprune.cli.base import PATH, Loader, command, with_model


@command
@with_model
@click.option("--config", type=PATH, help="A decode configuration: how large a batch may be.")
@click.option("--ask", "asks", is_flag=True, help="Also load the model and ask one question.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def doctor(ctx: click.Context, load: Loader, config: Path | None, asks: bool, as_json: bool) -> None:
    """Look at machine, model and data before a long run: what is there, what is missing, what to do.

    Under a minute, and no weights are loaded without --ask. Exit status 1: something that is needed is missing.
    """
    import dataclasses
    import json
    from functools import partial

    from speechprune.doctor import Chosen, examine, format_findings
    from speechprune.doctor.question import ask_once

    options = {name: value for name, value in load.options.items() if name != "shard"}
    found = examine(Chosen(load.model, **options), config, Path.cwd(), partial(ask_once, load) if asks else None)
    missing = any(finding.status == "missing" for finding in found)
    listed = {"ok": not missing, "findings": [dataclasses.asdict(finding) for finding in found]}
    click.echo(json.dumps(listed) if as_json else format_findings(found))
    ctx.exit(1 if missing else 0)


@command
@click.argument("corpus")
@click.argument("name", metavar="SET")
@click.option("--model", default="mini", show_default=True, help="As for decode; config.json is enough.")
@click.option("--config", type=PATH, required=True, help="The decode configuration.")
@click.option("--data", type=PATH, default=Path("data"), show_default=True, help="Prepared sets, where there are any.")
@click.option("--measured", type=PATH, help="What `make gpu` wrote: the speed to count with.")
@click.option("--tflops", type=click.FloatRange(0, min_open=True), help="The speed, in TFLOP/s, instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def forecast(
    corpus: str,
    name: str,
    model: str,
    config: Path,
    data: Path,
    measured: Path | None,
    tflops: float | None,
    as_json: bool,
) -> None:
    """What decoding SET of CORPUS will take: recordings, prefill tokens, hours, disk. Touches nothing.

    Where the set is not prepared, its size is the one that its recipe has as published. Without --measured or --tflops,
    hours are those of the machine of the paper, a Quadro RTX 6000.
    """
    import json

    from speechprune.doctor.forecast import PAPER_SPEED, format_forecast, measured_speed
    from speechprune.doctor.forecast import forecast as run

    speed, source = PAPER_SPEED, "Table I's 779 ms, a Quadro RTX 6000"
    if tflops is not None:
        speed, source = tflops * 1e12, "as given"
    elif measured is not None:
        speed, source = measured_speed(measured)
    found = run(model, config, corpus, name, data, speed, source)
    click.echo(json.dumps(found) if as_json else format_forecast(found))
