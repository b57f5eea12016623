"""A real Slurm of one node for tests: on loopback, by an ordinary user, with nothing installed on the system.

The Debian packages are fetched once with apt-get and unpacked into a cache folder. Jobs run as processes of this
machine; its GPUs are pretended. Partitions: main (default), high (preempts the others, whose jobs are requeued),
sudden (without the warning), short (one minute).

To try something on it: ``python tests/helpers/slurm_cluster.py COMMAND [ARGUMENT ...]``, such as ``bash``.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# libnuma1 may be missing from a small system; the rest belongs to every Debian.
PACKAGES = "slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge libmunge2 libhwloc15 liblua5.1-0 libnuma1"
CPUS, MEGABYTES, GPUS = 8, 4000, 3


class Cluster:
    """A started Slurm; ``env`` is the environment in which its commands find it."""

    def __init__(self, root: Path) -> None:
        # In a path of their own and short: the name of a socket has at most 108 characters.
        self.run = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.root = root
        self.library = next(root.glob("usr/lib/*/slurm-wlm"))
        self.daemons: list[subprocess.Popen] = []
        paths = [str(self.library), str(self.library.parent), os.environ.get("LD_LIBRARY_PATH", "")]
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        self.env |= {
            "SLURM_CONF": str(self.run / "slurm.conf"),
            "PATH": f"{root}/usr/bin:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": ":".join(filter(None, paths)),
        }

    def start(self) -> None:
        run, node = self.run, socket.gethostname().partition(".")[0]
        run.chmod(0o755)  # munge wants its socket where any user may go ...
        for name in ("munge", "state", "spool"):
            (run / name).mkdir(mode=0o700)
        (run / "munge" / "key").write_bytes(os.urandom(1024))
        (run / "munge" / "key").chmod(0o600)  # ... and its key where nobody else may
        (run / "socket").mkdir(mode=0o755)
        for number in range(GPUS):
            (run / f"gpu{number}").symlink_to("/dev/null")
        (run / "gres.conf").write_text(f"NodeName={node} Name=gpu File={run}/gpu[0-{GPUS - 1}]\n")
        (run / "slurm.conf").write_text(self.configuration(node))
        sbin = self.root / "usr" / "sbin"
        munge = run / "munge"
        self.daemon(
            f"{sbin}/munged -F --num-threads=2 --key-file={munge}/key --socket={run}/socket/munge "
            f"--pid-file={munge}/pid --seed-file={munge}/seed --log-file={munge}/log"
        )
        self.wait(lambda: (run / "socket" / "munge").exists(), 10, "munged has no socket")
        self.daemon(f"{sbin}/slurmctld -D")
        self.daemon(
            f"{sbin}/slurmd -D -N {node} -d {sbin}/slurmstepd"
        )  # the built-in path of slurmstepd is the system's
        self.wait(
            lambda: self.call("sinfo", "-h", "-p", "main", "-o", "%T").strip() == "idle", 60, "the node is not idle"
        )

    def configuration(self, node: str) -> str:
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        controller, daemon = free_ports()
        # cred_expire, at least 5 s, is also what a requeued job waits, by default 120 s. EnforcePartLimits=NO lets jobs
        # pend that can never start, as many sites do. The grace time warns a job before it is preempted.
        return f"""\
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller}
SlurmdPort={daemon}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={self.run}/socket/munge,cred_expire=5
PluginDir={self.library}
StateSaveLocation={self.run}/state
SlurmdSpoolDir={self.run}/spool
SlurmctldPidFile={self.run}/slurmctld.pid
SlurmdPidFile={self.run}/slurmd.pid
SlurmctldLogFile={self.run}/slurmctld.log
SlurmdLogFile={self.run}/slurmd.log
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
SlurmctldParameters=preempt_send_user_signal
KillWait=2
MinJobAge=300
EnforcePartLimits=NO
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={node} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory={MEGABYTES} Gres=gpu:{GPUS} State=UNKNOWN
PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=5
PartitionName=high Nodes={node} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=sudden Nodes={node} MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=0
PartitionName=short Nodes={node} MaxTime=1 State=UP PriorityTier=1 GraceTime=5
"""

    def daemon(self, command: str) -> None:
        """Start one that ends with the tests, whatever ends them."""
        words = ["setpriv", "--pdeathsig", "TERM", *command.split()]
        with (self.run / "daemons.log").open("ab") as log:
            files = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self.daemons.append(subprocess.Popen(words, env=self.env, start_new_session=True, **files))

    def wait(self, condition, seconds: float, problem: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline or any(daemon.poll() is not None for daemon in self.daemons):
                logs = "".join(f"\n{path}:\n{path.read_text()[-2000:]}" for path in sorted(self.run.glob("*.log")))
                raise RuntimeError(f"{problem}; the logs of the daemons:{logs}")
            time.sleep(0.1)

    def call(self, *command: str) -> str:
        """The stdout of a Slurm command; nothing when it waits for a controller that is not there."""
        try:
            return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=30).stdout
        except subprocess.TimeoutExpired:
            return ""

    def stop(self) -> list[str]:
        """Cancel all jobs, end the daemons; returns the processes that are left (and kills them)."""
        self.call("scancel", "--user", str(os.getuid()))
        deadline = time.monotonic() + 15  # a slurmstepd outlives slurmd while its job runs
        while self.call("squeue", "-h") and time.monotonic() < deadline:
            time.sleep(0.2)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        left = []
        for pid, command in self.processes():
            left.append(command)
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.run, ignore_errors=True)
        return left

    def processes(self) -> Iterator[tuple[int, str]]:
        """Whatever has this cluster in its environment or its arguments: jobs, their steps, daemons."""
        mark = os.fsencode(self.run) + b"/"
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes()
                if mark in command + (folder / "environ").read_bytes():
                    yield int(folder.name), command.replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # ended, or another user's
                continue


def free_ports() -> tuple[int, int]:
    """Below those that the kernel gives to connections, and from another place for each process of tests."""
    start = 20_000 + os.getpid() * 2 % 10_000
    for port in range(start, start + 2_000, 2):
        try:
            with socket.create_server(("127.0.0.1", port)), socket.create_server(("127.0.0.1", port + 1)):
                return port, port + 1
        except OSError:
            continue
    raise RuntimeError(f"no two free ports from {start} on")


def packages() -> Path:
    """The folder of the unpacked packages, fetched when it is not there; skips the tests where they cannot be had."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "speechprune-slurm"
    root = cache / "root"
    if not root.is_dir():
        missing = [tool for tool in ("apt-get", "dpkg", "setpriv") if shutil.which(tool) is None]
        if missing:
            pytest.skip(f"a Slurm for the tests needs Debian's packages, and there is no {missing[0]} here")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            fetch(Path(work))
            unpack(Path(work))
            try:
                (Path(work) / "root").rename(root)
            except OSError:
                if not root.is_dir():  # other tests were faster
                    raise
    return root


def fetch(work: Path) -> None:
    # Lists of packages of its own for the second try: an ordinary user cannot update the system's.
    lists = work / "lists"
    lists.mkdir()
    own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={work}/cache"]
    download = ["download", *PACKAGES.split()]
    for command in (download, [*own, "update"], [*own, *download]):
        result = subprocess.run(["apt-get", "-q", *command], cwd=work, capture_output=True, text=True, timeout=300)
        if result.returncode == 0 and command[-1] != "update":
            return
    reason = (result.stderr.strip() or result.stdout.strip()).splitlines()
    pytest.skip(f"the packages of a Slurm for the tests cannot be had: apt-get says: {(reason or ['nothing'])[-1]}")


def unpack(work: Path) -> None:
    for package in work.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(work / "root")], check=True, capture_output=True)
    # A daemon reads its part of slurm.conf only under its own name; Debian adds -wlm and leaves the link to the system.
    for name in ("slurmctld", "slurmd", "slurmstepd"):
        (work / "root" / "usr" / "sbin" / name).symlink_to(f"{name}-wlm")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One Slurm for all tests of a session; no process of it may be left at the end."""
    cluster = Cluster(packages())
    try:
        cluster.start()
        yield cluster
    finally:
        left = cluster.stop()
    assert not left, f"processes of the cluster that had to be killed: {left}"


def main(command: list[str]) -> int:
    """Run a command where a cluster of its own is found."""
    cluster = Cluster(packages())
    try:
        cluster.start()
        return subprocess.run(command, env=cluster.env).returncode
    finally:
        cluster.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["bash"]))
