"""Slurm of Debian's packages (slurm-wlm, munge) on the hosts of a lab: one slurmctld, a slurmd on each host."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.cluster.lab import Lab, wait_until
from tests.integration.cluster.programs import program

CREDENTIAL_S = 20  # a requeued job waits for as long as the credentials of the attempt before are good; Slurm's own default is 120
CONF = """ClusterName=lab
SlurmctldHost={names[0]}({addresses[0]})
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={credential}
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
JobRequeue=1
ReturnToService=2
KillWait=15
SlurmdTimeout=60
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
{nodes}
PartitionName=lab Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """A running Slurm; its commands run on the first host."""

    hosts: Lab
    folder: Path

    def call(self, *command: str, timeout: float = 60, **variables: str) -> str:
        return self.hosts.head.call(*command, timeout=timeout, SLURM_CONF=str(self.folder / "slurm.conf"), **variables)

    def submit(self, submitted: Path, *command: str, **variables: str) -> int:
        """The number of a job that is submitted from a folder."""
        told = self.call("bash", "-c", f'cd "{submitted}" && exec sbatch "$@"', "sbatch", *command, **variables)
        return int(told.split()[-1])

    def job(self, number: int) -> dict[str, str]:
        """What `scontrol` knows of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.call("scontrol", "show", "job", str(number))))

    def tell(self) -> str:
        return "\n".join(f"--- {path}\n{path.read_text(errors='replace')[-3000:]}" for path in sorted(self.folder.glob("*.log")))


@contextmanager
def slurm(hosts: Lab, cpus: int) -> Iterator[Slurm]:
    """Slurm with all hosts as nodes of `cpus` CPUs, until the block ends."""
    folder = hosts.folder / "slurm"
    (folder / "state").mkdir(parents=True)
    names, addresses = [host.name for host in hosts.hosts], [host.address for host in hosts.hosts]
    nodes = "\n".join(f"NodeName={name} NodeAddr={address} CPUs={cpus} RealMemory=4000" for name, address in zip(names, addresses, strict=True))
    (folder / "slurm.conf").write_text(CONF.format(names=names, addresses=addresses, folder=folder, credential=CREDENTIAL_S, nodes=nodes))
    munged = _munge(folder)
    made = Slurm(hosts, folder)
    try:
        own = {"SLURM_CONF": str(folder / "slurm.conf")}
        hosts.head.start(program("slurmctld", "slurm-wlm"), "-D", "-f", str(folder / "slurm.conf"), **own)
        for host in hosts.hosts:
            (folder / f"spool-{host.name}").mkdir()
            host.start(program("slurmd", "slurm-wlm"), "-D", "-N", host.name, "-f", str(folder / "slurm.conf"), **own)
        wait_until(lambda: _idle(made) == len(names), 60, lambda: made.tell() + hosts.logs(), every=0.5)
        yield made
    finally:
        munged.terminate()
        munged.wait(10)


def _munge(folder: Path) -> subprocess.Popen:
    """One munge for all hosts: its socket is a file, which they share."""
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    files = {"socket": "munge.socket", "key-file": "munge.key", "log-file": "munge.log", "pid-file": "munge.pid", "seed-file": "munge.seed"}
    options = [f"--{name}={folder / file}" for name, file in files.items()]
    process = subprocess.Popen([program("munged", "munge"), "--foreground", "--force", *options], stderr=subprocess.DEVNULL)
    wait_until((folder / "munge.socket").exists, 20, lambda: (folder / "munge.log").read_text())
    os.chmod(folder, 0o755)
    return process


def _idle(made: Slurm) -> int:
    try:
        return made.call("sinfo", "-h", "-N", "-o", "%T").split().count("idle")
    except subprocess.CalledProcessError:
        return 0
