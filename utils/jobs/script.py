"""The batch script of an array, as utils/slurm.py hands it to sbatch."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from .settings import Config
from .words import UsageError, Words

EXIT_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: "start me again, I go on where I was"
MAX_RESTARTS = 100


@dataclass(frozen=True)
class Job(Words):
    """The words of a call, and where they were said. ``log`` is relative to ``root``."""

    directory: str  # where the command runs; absolute
    root: str  # directory, or / for a log that was given with an absolute path

    @property
    def folder(self) -> Path:
        """Where calls keep their files: beside the logs."""
        parent = Path(self.log).parent
        while len(self.split(str(parent))) > 1:
            parent = parent.parent
        return Path(self.root, parent, ".slurm")

    @property
    def log_pattern(self) -> str:
        return str(Path(self.root, self.log))

    def log_of(self, index: int) -> Path:
        return Path(self.root, self.filled(self.log, index))

    def output(self) -> str:
        """The log's name for sbatch --output."""
        if "\\" in self.log_pattern:
            raise UsageError(f"log {self.log_pattern!r} holds a backslash, which Slurm does not take in a file's name")
        return str(Path(self.root.replace("%", "%%"), "%a".join(self.split(self.log.replace("%", "%%")))))

    def quoted(self, text: str) -> str:
        """A bash word for ``text``, with the task's number where the variable stands and everything else as it is."""
        return '"$job"'.join(quoted(part) if part else "" for part in self.split(text)) or "''"

    def script(self, folder: Path, flags: list[str], config: Config, requeue: bool) -> str:
        """The batch script of one task. ``folder`` receives exit.<number>, written last."""
        # A flag's value may be a word of its own: "-p", "gpu".
        lines = re.sub(r"\n(?!-)", " ", "\n".join(map(shlex.quote, flags))).split("\n")
        return SCRIPT.format(
            directives="\n".join(f"#SBATCH {line}" for line in lines),
            folder=quoted(str(folder)),
            log=quoted(str(Path(self.root)) + "/") + self.quoted(self.log),
            head=" ".join(self.quoted(line) for line in shlex.join(self.command).split("\n")),  # may hold line breaks
            setup="\n".join(config.setup),
            command=" ".join([quoted(word) for word in config.prefix] + [self.quoted(word) for word in self.command]),
            again=AGAIN if requeue else "",
        )


def quoted(text: str) -> str:
    # sbatch refuses a script that holds \r\n.
    return shlex.quote(text).replace("\r", r"'$'\r''")


SCRIPT = """\
#!/usr/bin/env bash
{directives}

# One task of an array, written by utils/slurm.py.
job=$SLURM_ARRAY_TASK_ID
id=${{SLURM_ARRAY_JOB_ID}}_$job # SLURM_JOB_ID of one of the tasks is that of the whole array
restart=${{SLURM_RESTART_COUNT:-0}}
folder={folder}
log={log}
export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-${{SLURM_CPUS_PER_TASK:-1}}}}
now() {{ date +%Y-%m-%dT%H:%M:%S%z; }}

rm -f -- "$folder/exit.$job"
printf '# %s\\n' {head}
echo "# Running on $SLURMD_NODENAME, Slurm job $id, restart $restart"
printf '# Started at %s\\n#\\n' "$(now)"
{setup}

told='' task=''
trap 'told=1; kill -USR1 "$task" 2>/dev/null' USR1 # Slurm warns the batch script alone ...
trap 'told=1' TERM                                 # ... but sends SIGTERM to every process
exec -- {command} </dev/null &
task=$!
# A wait that a signal interrupts while it ends the command too returns -1 (seen with bash 5.2): wait for the dead only.
while kill -0 "$task" 2>/dev/null; do sleep $((SECONDS < 5 ? 0 : 1)).1; done
wait "$task"
code=$?

[[ -z $(tail -c 1 -- "$log") ]] || echo
echo "# Accounting: time=${{SECONDS}}s"
echo "# Ended (code $code) at $(now)"
{again}printf '%s %s\\n' "$code" "$restart" >"$folder/.exit.$job" &&
  mv -f -- "$folder/.exit.$job" "$folder/exit.$job"
exit "$code"
"""

# A task that was cancelled or whose time has ended is not in the state RUNNING any more.
AGAIN = f"""\
if [[ $code == {EXIT_AGAIN} || ( $told && ( $code == 138 || $code == 143 ) ) ]] && ((restart < {MAX_RESTARTS})) &&
  [[ $(scontrol -o show job "$id") == *" JobState=RUNNING "* ]]; then
  echo "# To be started again"
  scontrol requeue "$id" && exit "$code"
fi
"""
