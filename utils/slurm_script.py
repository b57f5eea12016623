"""What utils/slurm.py hands to sbatch: options mapped by slurm.conf files, and the batch script of an array."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

EXIT_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: "start me again, I go on where I was"
MAX_RESTARTS = 100


class UsageError(Exception):
    """Wrong words on the command line or in a configuration file; the message says which and what is valid."""


@dataclass
class Config:
    """The merged slurm.conf files. ``options`` maps a name to {value or "*": words for sbatch}."""

    command: list[str] = field(default_factory=lambda: ["sbatch"])
    options: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)
    setup: list[str] = field(default_factory=list)
    prefix: list[str] = field(default_factory=list)

    def read(self, path: Path) -> None:
        """Add a file; a later line replaces an earlier one for the same option and value, setup lines add up."""
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            word, _, rest = line.strip().partition(" ")
            if not word or word.startswith("#"):
                continue
            try:
                self._add(word, rest.strip())
            except ValueError as error:
                raise UsageError(f"{path}:{number}: {error}: {line.strip()!r}") from None

    def _add(self, word: str, rest: str) -> None:
        if word == "setup":
            self.setup.append(rest)
        elif word == "prefix":
            self.prefix = shlex.split(rest, comments=True)
        elif word == "command" and (words := shlex.split(rest, comments=True)):
            self.command = words
        elif word == "option" and (match := re.match(r"(\w+)=(\S+)(\s.*)?$", rest)):
            self.options.setdefault(match[1], {})[match[2]] = shlex.split(match[3] or "", comments=True)
        elif word == "default" and (match := re.match(r"(\w+)=(\S+)\s*(#.*)?$", rest)):
            self.defaults[match[1]] = match[2]
        else:
            raise ValueError("expected command, option NAME=VALUE, default NAME=VALUE, setup or prefix")

    def flags(self, given: dict[str, str]) -> list[str]:
        """The words for sbatch; UsageError for a value that no line allows."""
        words = []
        for name, choices in self.options.items():
            value = given.get(name) or self.defaults.get(name)
            if value is None:
                continue
            chosen = choices.get(value, choices.get("*"))
            if chosen is None:
                valid = ", ".join(choices)
                raise UsageError(
                    f"--{dashed(name)}: slurm.conf has no line for {value!r}; the valid values are: {valid}"
                )
            words += [part.replace("$0", value) for part in chosen]
        return words


def dashed(name: str) -> str:
    return name.replace("_", "-")


def read_config(extra: str | None) -> Config:
    """Merge the file beside this one, the user's, the checkout's own and ``extra``."""
    here = Path(__file__).resolve().parent
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    config = Config()
    paths = [here / "slurm.conf", home / "speechprune" / "slurm.conf", here.parent / "local" / "slurm.conf"]
    for path in [path for path in paths if path.is_file()] + ([Path(extra)] if extra else []):
        try:
            config.read(path)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {path}: {error}") from None
    for name in config.defaults.keys() - config.options.keys():
        raise UsageError(f"slurm.conf: default {name}={config.defaults[name]} has no line: option {name}=* ...")
    return config


def spans(numbers: list[int]) -> str:
    """Sorted numbers as Slurm writes them: [1, 2, 3, 7] -> "1-3,7"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def numbers_of(text: str) -> list[int]:
    """The inverse of `spans`; reads also steps and the limit of a running array: "1-7:3,9%2" -> [1, 4, 7, 9]."""
    numbers = []
    for first, last, step in re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", text.partition("%")[0]):
        numbers += range(int(first), int(last or first) + 1, int(step or 1))
    return numbers


@dataclass(frozen=True)
class Job:
    """What is to run. In ``log`` and ``command``, and nowhere else, ``variable`` stands for a task's number."""

    directory: str  # where the command runs; absolute
    log: str  # relative to root
    root: str  # directory, or / for a log that was given with an absolute path
    variable: str | None
    command: list[str]

    @property
    def name(self) -> str:
        stem = Path("".join(self.split(self.log))).name.removesuffix(".log")
        return re.sub(r"[^\w.-]+", "_", stem).strip("._-") or "job"

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
        return Path(self.root, str(index).join(self.split(self.log)))

    def label(self, index: int) -> str:
        return f"job {index}" if self.variable else "the job"

    def output(self) -> str:
        """The log's name for sbatch --output."""
        if "\\" in self.log_pattern:
            raise UsageError(f"log {self.log_pattern!r} holds a backslash, which Slurm does not take in a file's name")
        return str(Path(self.root.replace("%", "%%"), "%a".join(self.split(self.log.replace("%", "%%")))))

    def quoted(self, text: str) -> str:
        """A bash word for ``text``, with the task's number where the variable stands and everything else as it is."""
        return '"$job"'.join(quoted(part) if part else "" for part in self.split(text)) or "''"

    def split(self, text: str) -> list[str]:
        return text.split(self.variable) if self.variable else [text]

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
