"""The words of a call of utils/slurm.py, and its submission."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .array import Run
from .controller import in_books
from .progress import command_words
from .screen import shown
from .script import Job
from .settings import Config, dashed, read_config
from .words import UsageError, Words, spans

FLAGS = {"requeue", "detach", "die_with_parent", "dry_run"}
OWN = FLAGS | {"config", "max_jobs_run", "retries", "progress_command", "depend"}
HINTS = {
    "Invalid job array": "; the largest number is one below MaxArraySize of: scontrol show config",
    "Invalid partition": "; the partitions are those of: sinfo -s",
    "node configuration is not available": "; no node has what --mem, --gpu, --num-threads or --constraint ask for",
}


@dataclass
class Call:
    """The words of a command line."""

    job: Job
    config: Config
    given: dict[str, str]  # options that slurm.conf maps
    own: dict[str, str]
    progress: list[str] = field(default_factory=list)  # the words of --progress-command

    def number(self, option: str, least: int) -> int | None:
        text = self.own.get(option)
        if text is not None and not (text.isdecimal() and int(text) >= least):
            raise UsageError(f"--{dashed(option)}: {text!r} is not a whole number from {least} on")
        return None if text is None else int(text)

    def flags(self, indices: list[int]) -> list[str]:
        """What sbatch is told, in its own words; later ones win."""
        limit = self.number("max_jobs_run", 1)
        words = [*self.config.command[1:], f"--job-name={self.job.name}", *self.config.flags(self.given)]
        if "depend" in self.own:
            words += [f"--dependency=afterok:{self.own['depend'].replace(',', ':')}", "--kill-on-invalid-dep=yes"]
        words.append(f"--array={spans(indices)}" + (f"%{limit}" if limit else ""))
        return [*words, f"--chdir={self.job.directory}", f"--output={self.job.output()}", "--open-mode=append"]

    def script(self, folder: Path) -> str:
        return self.job.script(folder, self.flags(self.job.indices), self.config, "requeue" in self.own)


def parse(words: list[str]) -> Call:
    """The call; UsageError names what is wrong."""
    options, words = split_options(words)
    own = {name: value for name, value in options.items() if name in OWN}
    config = read_config(own.get("config"))
    given = {name: value for name, value in options.items() if name in config.options}
    for name in options:
        if name not in OWN and name not in config.options:
            valid = " ".join(f"--{dashed(name)}" for name in sorted(OWN | set(config.options)))
            raise UsageError(f"--{dashed(name)} is unknown; the valid options are: {valid}")
    said = Words.read(words)
    directory = str(Path.cwd())
    root = "/" if Path(said.log).is_absolute() else directory
    log = os.path.normpath(said.log).lstrip("/")
    job = Job(said.variable, said.indices, log, said.command, directory, root)
    call = Call(job, config, given, own, command_words(own.get("progress_command", "")))
    call.flags(job.indices)
    call.number("retries", 0)
    if "detach" in own and "retries" in own:
        raise UsageError("--retries needs a call that waits; leave out --detach")
    if not re.fullmatch(r"\d+(,\d+)*", own.get("depend", "0")):
        raise UsageError(f"--depend: {own['depend']!r} is not the id of a job, or several separated by commas")
    return call


def split_options(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Options, names with underscores, and the words behind them; an empty value is an option not given."""
    options, words = {}, list(words)
    while words and words[0].startswith("--"):
        option, equals, value = words.pop(0).partition("=")
        name = option[2:].replace("-", "_")
        if name in FLAGS:
            if equals:
                raise UsageError(f"{option} takes no value")
            value = "true"
        elif not equals:
            if not words:
                raise UsageError(f"{option} has no value")
            value = words.pop(0)
        if value:
            options[name] = value
        else:
            options.pop(name, None)
    return options, words


class RefusedError(Exception):
    """Slurm or this program does not take the job."""


def prepare(call: Call) -> Run:
    """The folder of a call, its script, and fresh logs. RefusedError when an earlier call still writes these logs."""
    for job in filter(None, call.own.get("depend", "").split(",")):
        if not in_books(job):  # Slurm itself takes an id that it does not know for one that has succeeded
            raise RefusedError(f"--depend {job}: Slurm does not know this job (any more); leave it out if it succeeded")
    logs = {call.job.log_of(index) for index in call.job.indices}
    for earlier in Run.find(call.job.folder):
        if not logs & {earlier.job.log_of(index) for index in earlier.job.indices}:
            continue
        alive = [task for task in earlier.look() if task.state in ("pending", "running")]
        if alive:
            raise RefusedError(
                f"an earlier call still writes {shown(earlier.job.log_of(alive[0].index))}: job {alive[0].place} is "
                f"{alive[0].state}; wait for it, or type: scancel {' '.join(earlier.ids)}"
            )
        shutil.rmtree(earlier.folder, ignore_errors=True)
    run = Run.create(call.job, call.progress)
    (run.folder / "script.sh").write_text(call.script(run.folder), encoding="utf-8", errors="surrogateescape")
    for log in logs:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)  # the tasks append: a task that starts again must not lose its first log
    return run


def submit(call: Call, run: Run, indices: list[int]) -> str:
    """sbatch; returns the job's id."""
    environment = {name: value for name, value in os.environ.items() if name != "SBATCH_WAIT"}
    if "SLURM_JOB_ID" in environment:  # called in a job: what describes that one is not for the new ones
        environment = {n: v for n, v in environment.items() if not n.startswith("SLURM_") or n == "SLURM_CONF"}
    # The flags again, although they stand in the script: there, the user's SBATCH_* variables would win.
    command = [call.config.command[0], "--parsable", *call.flags(indices), str(run.folder / "script.sh")]
    try:  # in a session of its own: Ctrl-C must not hit it between the submission and its answer
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, start_new_session=True)  # noqa: S603
    except OSError as error:
        raise RefusedError(f"cannot start {command[0]}: {error.strerror}; is this a machine of the cluster?") from None
    if answer.returncode:
        hint = next((hint for key, hint in HINTS.items() if key in answer.stderr), "")
        raise RefusedError(f"not submitted: {' '.join(answer.stderr.split())}{hint}")
    sys.stderr.write(answer.stderr)  # what a site has to say
    if not (match := re.search(r"(\d+)(;\S*)?\s*$", answer.stdout)):
        raise RefusedError(f"{command[0]} answers {answer.stdout!r}, and there is no id of a job in it")
    run.add(match[1], indices)
    return match[1]
