#!/usr/bin/env python3
"""Run a command once, or as numbered jobs at the same time, on this machine; one log each (as Kaldi's run.pl does).

JOB is replaced by the job's number in the log's name, the command and its arguments. No shell reads the command, and
its stdin is empty. A log holds the command, host and start, then stdout and stderr together, then time and exit code;
an older log is overwritten. A failing job does not stop the others; it is named on stderr with the end of its log.
While jobs run, a line on stderr says how far they are: rewritten on a terminal, elsewhere a new one every 30 s.
Exit status: 0, 1 when a job failed, 2 for wrong usage, 128 + number after a signal, which ends all jobs first.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also where PYTHONSAFEPATH is set

from jobs.local import Runner
from jobs.processes import die_with_parent, note_signals
from jobs.progress import Progress, command_words
from jobs.screen import Screen
from jobs.words import UsageError, Words


def parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    usage = "run.py [OPTION ...] [JOB=1:8] log/x.JOB.log COMMAND [ARGUMENT ...]"
    parser = argparse.ArgumentParser("run.py", usage, __doc__, formatter_class=form, allow_abbrev=False)
    parser.add_argument("--max-jobs-run", type=int, metavar="N", help="jobs at once (default: all)")
    parser.add_argument(
        "--gpus", default="", metavar="ID[,ID]", help="let each job see one of these alone; no more run at once"
    )
    parser.add_argument(
        "--progress-command",
        default="",
        metavar="CMD",
        help='prints "DONE/EXPECTED", such as rows, and perhaps "N failed": shown; fewer than expected at the end, or '
        "nothing but failed ones, are a failure",
    )
    parser.add_argument("--echo", action="store_true", help="also copy the first job's output to stderr")
    parser.add_argument("--die-with-parent", action="store_true", help="stop when the calling process ends (Linux)")
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    try:
        if options.max_jobs_run is not None and options.max_jobs_run < 1:
            raise UsageError(f"--max-jobs-run: {options.max_jobs_run} is not a number of jobs; give 1 or more")
        words = Words.read(options.words)
        progress = Progress(command_words(options.progress_command), os.curdir)
    except UsageError as error:
        parser().error(str(error))
    signals = note_signals()
    if options.die_with_parent:
        die_with_parent()
    gpus = [name for name in options.gpus.split(",") if name]
    return Runner(words, Screen("run.py"), signals, progress, options.max_jobs_run, gpus, options.echo).run()


if __name__ == "__main__":
    sys.exit(main())
