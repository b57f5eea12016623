#!/usr/bin/env python3
"""Run a command once, or as numbered jobs, on a Slurm cluster: the call of utils/run.py, as one sbatch array.

  slurm.py [OPTION ...] [JOB=1:8] log/x.JOB.log COMMAND [ARGUMENT ...]
  slurm.py status [FOLDER ...]

JOB is replaced by the job's number in the log's name, the command and its arguments; no shell reads their text. The
environment and the current directory are those of the call. Without --detach the call lasts until all jobs have ended,
names a failing one on stderr with the end of its log, and cancels all at SIGINT, SIGTERM or SIGHUP.

  --mem 4G, --gpu 1, --num-threads 2, --time 1:00:00, --partition P, ...   what every job needs, by slurm.conf
  --config FILE            one more slurm.conf
  --max-jobs-run N         jobs at once
  --retries N              submit failed jobs again, up to N times, when the others have ended
  --requeue                start a job again that is preempted, loses its node, is warned of its time limit or exits
                           with 75; the command has to go on where it was
  --progress-command CMD   prints "DONE/EXPECTED", such as rows, and perhaps ", N failed": shown; fewer at the end than
                           expected, or all failed, are a failure
  --depend ID[,ID]         start when these jobs have succeeded
  --detach                 submit, print the job's id and leave
  --die-with-parent        cancel when the calling process ends (Linux)
  --dry-run                print the batch script and submit nothing

An option with an empty value is one not given. `status` says of the arrays whose logs are below the folders (default:
here) what is running, done, failed and why; its exit status is 1 when a job failed or rows are missing.
Exit status: 0, 1 when a job failed or could not be submitted, 2 for wrong usage, 128 + number after a signal.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also where PYTHONSAFEPATH is set

from jobs.call import RefusedError, parse, prepare, submit
from jobs.processes import die_with_parent, note_signals
from jobs.screen import Screen, shown
from jobs.status import status
from jobs.watch import Watch
from jobs.words import UsageError


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    screen = Screen("slurm.py")
    if words[:1] in (["--help"], ["-h"]):
        print(__doc__, end="")
        return 0
    try:
        if words[:1] == ["status"]:
            return status(words[1:])
        call = parse(words)
        if "dry_run" in call.own:
            script = call.script(call.job.folder / f"{call.job.name}.dry-run")
            sys.stdout.buffer.write(script.encode(errors="surrogateescape"))
            return 0
        signals = note_signals()
        if "die_with_parent" in call.own:
            die_with_parent()
        run = prepare(call)
        try:
            job = submit(call, run, call.job.indices)
        except RefusedError:
            shutil.rmtree(run.folder)
            raise
    except UsageError as error:
        screen.say(str(error))
        return 2
    except (RefusedError, OSError) as error:
        screen.say(str(error))
        return 1
    jobs = f"{len(call.job.indices)} job{'s' * (len(call.job.indices) > 1)}"
    screen.say(f"{jobs} submitted as {job}; log: {shown(call.job.log_pattern)}")
    if "detach" in call.own and not signals:
        print(job)
        return 0
    return Watch(call, run, signals, screen).follow()


if __name__ == "__main__":
    sys.exit(main())
