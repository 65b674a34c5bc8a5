"""`blame FILE...` over three hosts: namespaces with a probe each, and ranks connected in a ring."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
from support.conversation import QUESTION
from support.install import Installed
from support.namespace import Namespace, end
from support.require import require

ENOUGH_S = 60.0  # only where a test fails
RANKS = 3
JOB = "4711"


class Host:
    """A namespace with a probe that writes its stream to a file, and sees nothing else."""

    def __init__(self, installed: Installed, namespace: Namespace, name: str, path: object) -> None:
        self.name = name
        self.namespace = namespace
        self.path = path
        # The sampler: the kernel source sees all namespaces, which are no hosts to it.
        words = [
            "--backend",
            "sampler",
            "--interval",
            "0.2",
            "--reply-ms",
            "100",
            "--connections",
            "--host",
            name,
        ]
        self._file = path.open("wb")
        self._probe = subprocess.Popen(
            [*namespace.command("root"), str(installed.command), *words],
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.PIPE,
        )

    def wait_for(self, seen, enough_s=ENOUGH_S):
        """Wait until `seen` holds of a record of the stream."""
        deadline = time.monotonic() + enough_s
        while True:
            records = map(json.loads, self.path.read_bytes().splitlines()[:-1])
            if any(map(seen, records)):
                return
            assert self._probe.poll() is None, self._probe.stderr.read()
            assert time.monotonic() < deadline, self.path.read_text()[-4_000:]
            time.sleep(0.1)

    def close(self) -> None:
        end(self._probe)
        self._file.close()


@pytest.fixture(scope="module")
def with_engine(installed):
    """The installation with the extra `fleet`."""
    words = [str(installed.python), "-m", "pip", "install", "-q", f"{installed.wheel}[fleet]"]
    subprocess.run(words, check=True, capture_output=True, cwd="/")
    return installed


@pytest.fixture
def blame(with_engine):
    """Run it on files until `enough` holds of its answer; the answer."""
    installed = with_engine

    def run(enough, *files):
        deadline = time.monotonic() + ENOUGH_S
        while True:
            words = [str(installed.command), "blame", "--json", *map(str, files)]
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
            assert done.returncode == 0, done.stderr
            found = json.loads(done.stdout)
            if enough(found):
                return found
            assert time.monotonic() < deadline, json.dumps(found, indent=1)

    return run


@pytest.fixture
def ranks(installed, worker, make_netns, tmp_path):
    """Three hosts, a rank on each with a connection to the next one, over which it has asked once.

    The peers of two hosts are joined by a pair of interfaces.
    """
    require(os.geteuid() == 0, "joining network namespaces needs root")
    spaces = [make_netns() for _ in range(RANKS)]
    for rank in range(RANKS):
        spaces[rank].join(spaces[(rank + 1) % RANKS], subnet=f"10.23.{40 + rank}")
    hosts = [
        Host(installed, space, f"node{rank}", tmp_path / f"node{rank}.ndjson")
        for rank, space in enumerate(spaces)
    ]
    started = []
    try:
        for host in hosts:
            host.wait_for(lambda record: record["event_type"] == "transport.bw")
        for rank, space in enumerate(spaces):
            env = {"SLURM_JOB_ID": JOB, "RANK": str(rank)}
            started.append(worker("links", namespace=space, comm=b"train", env=env))
        for rank in range(RANKS):
            after = started[(rank + 1) % RANKS]
            port = after.ask("listen", "before", f"10.23.{40 + rank}.2")["port"]
            started[rank].ask("connect", "after", port, f"10.23.{40 + rank}.2")
            after.ask("accept", "before")
        for rank in range(RANKS):
            after = started[(rank + 1) % RANKS]
            after.begin("answer", "before", QUESTION)
            started[rank].ask("ask", "after", QUESTION)
            after.expect("answer")
        yield hosts, started
    finally:
        for host in hosts:
            host.close()


def reported(worker, state):
    """A record of the connections of a process in this state."""

    def seen(record):
        if record["pid"] != worker.pid or record["value"] != "connected":
            return False
        return len(record["net"]["connections"]) == 2 and record["net"]["state"] in state

    return seen


def test_a_rank_that_is_stopped_is_named_with_its_host(blame, ranks):
    """Two wait, one of them for the other one; the third, which is stopped, waits for nothing."""
    hosts, workers = ranks
    for host, one in zip(hosts, workers, strict=True):
        host.wait_for(reported(one, (None, "running")))
    os.kill(workers[2].pid, signal.SIGSTOP)
    hosts[2].wait_for(reported(workers[2], ("stopped",)))
    workers[1].begin("forward", "before", "after", QUESTION)
    workers[0].begin("ask", "after", QUESTION)
    expected = f"2 of 3 ranks of job {JOB} wait for rank 2 (pid {workers[2].pid} on node2, stopped)"
    found = blame(lambda found: found["verdict"] == expected, *(host.path for host in hosts))
    by_node = {one["node"]: one for one in found["processes"]}
    assert {
        (one["host"], one["pid"], one["rank"]): [
            by_node[w["peer_node"]]["host"] for w in one["waits"]
        ]
        for one in found["processes"]
    } == {
        ("node0", workers[0].pid, 0): ["node1"],
        ("node1", workers[1].pid, 1): ["node2"],
        ("node2", workers[2].pid, 2): [],
    }
    # Without the stream of its host there is an address.
    away = blame(lambda found: found["culprits"], *(host.path for host in hosts[:2]))
    assert away["verdict"].startswith(f"2 of 2 ranks of job {JOB} wait for 10.23.41.2:")
    assert away["verdict"].endswith(", which no stream covers")
    os.kill(workers[2].pid, signal.SIGCONT)


def test_a_rank_that_computes_is_named_as_running(blame, ranks):
    hosts, workers = ranks
    workers[2].begin("compute")
    hosts[2].wait_for(reported(workers[2], ("running",)))
    workers[1].begin("ask", "after", QUESTION)
    expected = (
        f"1 of 3 ranks of job {JOB} waits for rank 2 (pid {workers[2].pid} on node2, running)"
    )
    blame(lambda found: found["verdict"] == expected, *(host.path for host in hosts))
