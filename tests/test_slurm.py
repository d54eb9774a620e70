"""A small grid on a real SLURM, all of it on this machine: make test-slurm, as root on Debian.

Snakemake is killed midway; its jobs go on, and the grid is resumed. The cluster's whole state lies
in a temporary folder, and nothing of it stays. /etc/slurm/slurm.conf is a link to it meanwhile: a
job step of the plugin's does not inherit SLURM_CONF.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import yaml

from icl_core import records

pytestmark = pytest.mark.slurm
PROJECT = records.PROJECT
PACKAGES = ("slurm-wlm", "munge")
LINK = Path("/etc/slurm/slurm.conf")
RUNS = {"setups": ["smoke"], "b": [1, 2], "seeds": [0, 1, 2]}
VARIANTS = 6  # a run trains and records
SLURM_CONF = """
ClusterName=icl
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ReturnToService=2
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 Gres=gpu:2
PartitionName=debug Nodes={host} MaxTime=60
"""
# What a user would edit in profiles/slurm. The GPUs are /dev/null and /dev/zero: no run uses them.
EDITED = {"slurm_partition": "debug", "gpu": 1, "runtime": "10m", "mem_mb": 1000}
WITHOUT_ACCOUNTING = {
    "slurm-status-command": "squeue",
    "slurm-init-seconds-before-status-checks": 5,
}


def call(*command, check=True):
    """A command's output, stderr included."""
    done = subprocess.run(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    assert not (check and done.returncode), f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


def wait_for(what, deed, seconds=900):
    """The first true value of deed(); fails after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = deed()
        if value:
            return value
        time.sleep(0.3)
    pytest.fail(f"{what}: not within {seconds} s")


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def queue():
    """Job id -> state of what waits or runs."""
    lines = call("squeue", "--noheader", "--format=%i|%T").splitlines()
    return dict(line.split("|") for line in lines)


@pytest.fixture(scope="module")
def installed():
    """Debian's SLURM and munge, installed if need be; the munge that comes with it is stopped."""
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        pytest.skip("make test-slurm installs and starts SLURM: it needs root on Debian")
    if LINK.exists():
        pytest.skip(f"there is a SLURM here already ({LINK}): the test starts its own")
    if not all(map(shutil.which, ("slurmctld", "slurmd", "munged"))):
        call("apt-get", "update", "--quiet")
        call("apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *PACKAGES)
        call("service", "munge", "stop", check=False)


@pytest.fixture(scope="module")
def cluster(installed):
    """One node of two cores: munged, slurmctld and slurmd, as long as the test runs."""
    folder = Path(tempfile.mkdtemp(prefix="icl-slurm-"))  # short: a socket's path is limited
    host = socket.gethostname().split(".")[0]
    conf = folder / "slurm.conf"
    conf.write_text(SLURM_CONF.format(folder=folder, host=host, ports=free_ports(2)))
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o600)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    own = {name: f"--{name}={folder}/munge.{name}" for name in ("socket", "pid-file", "seed-file")}
    munge = ["munged", "--foreground", "--force", f"--key-file={folder}/key", *own.values()]
    daemons = []
    control, node = ["slurmctld", "-D", "-f", conf], ["slurmd", "-D", "-f", conf, "-N", host]
    LINK.symlink_to(conf)
    try:
        for command in (munge, control, node):
            with open(folder / f"{command[0]}.log", "w") as log:
                daemons.append(subprocess.Popen(command, stdout=log, stderr=log))
            time.sleep(1)
        wait_for("an idle node", lambda: "idle" in call("sinfo", "-h", "-o%T", check=False), 60)
        yield folder
        call("scancel", "--user=root", check=False)
        wait_for("an empty queue", lambda: not queue(), 90)
    except BaseException:
        for log in folder.glob("*.log"):
            print(log.name, log.read_text(), sep="\n")
        raise
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(timeout=60)
        LINK.unlink()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def profile(cluster):
    """The profile as a user of this cluster would edit it, and a grid in the cluster's folder."""
    locks = PROJECT / ".snakemake/locks"
    assert not locks.exists() or not any(locks.iterdir()), "Snakemake is at work here: make unlock?"
    edited = yaml.safe_load((PROJECT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    edited["default-resources"] |= EDITED
    edited |= {"slurm-logdir": f"{cluster}/logs"}
    grid = {"out": f"{cluster}/out", "notebooks": {"1_position_and_mask": RUNS}}
    (cluster / "own.yaml").write_text(yaml.safe_dump(grid), encoding="utf-8")
    (cluster / "profile").mkdir()
    path = cluster / "profile/config.yaml"
    path.write_text(yaml.safe_dump(edited | WITHOUT_ACCOUNTING))
    return cluster / "profile"


def recorded(out):
    """Record -> bytes of its config.json."""
    return {str(p.parent): p.read_bytes() for p in (out / "data").glob("*/*/[!.]*/config.json")}


def jobs_of_records(out):
    """The ids of the SLURM jobs that the records name."""
    return {records.read_run(Path(run)).provenance["slurm_job_id"] for run in recorded(out)}


def environment_of_kernels():
    """The environments of the notebooks' kernels that run in a job."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"ipykernel_launcher" in (process / "cmdline").read_bytes():
                found.append((process / "environ").read_bytes().decode().split("\0"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [lines for lines in found if any(line.startswith("SLURM_JOB_ID=") for line in lines)]


def test_a_grid_on_slurm_outlives_snakemake_and_is_resumed(cluster, profile):
    grid = os.path.relpath(cluster / "own", PROJECT / "grids")
    out, options = cluster / "out", (f"GRID={grid}", f"PROFILE={profile}")
    with open(cluster / "make.log", "w") as log:
        killed = subprocess.Popen(
            ["make", "grid", *options], cwd=PROJECT, stdout=log, stderr=log, start_new_session=True
        )
    try:

        def kernels():
            assert killed.poll() is None, (cluster / "make.log").read_text(encoding="utf-8")
            return environment_of_kernels()

        for lines in wait_for("a kernel in a job", kernels):
            assert {"OMP_NUM_THREADS=1", "OMP_WAIT_POLICY=PASSIVE"} <= set(lines)

        def midway():
            assert killed.poll() is None, (cluster / "make.log").read_text(encoding="utf-8")
            return recorded(out) and {"RUNNING", "PENDING"} <= set(queue().values())

        wait_for("some runs recorded, some running, some waiting", midway)
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    left = queue()
    print("killed; recorded:", len(recorded(out)), "in the queue:", *left.items(), sep="\n ")
    cancelled = min(left, key=left.get)  # one that waits, unless it has just begun
    call("scancel", cancelled)
    wait_for("an empty queue", lambda: not queue())
    survivors, asked = recorded(out), VARIANTS * len(RUNS["b"]) * len(RUNS["seeds"])
    print("recorded without Snakemake:", len(survivors), "cancelled:", cancelled)
    assert set(left) - {cancelled} <= jobs_of_records(out) and len(survivors) < asked

    locked = call("make", "grid", *options, check=False)
    assert "cannot be locked" in locked, locked
    call("make", "unlock", *options)
    print(call("make", "grid", *options))
    assert len(recorded(out)) == asked
    assert survivors.items() <= recorded(out).items()
    assert all(job.isdigit() for job in jobs_of_records(out))
