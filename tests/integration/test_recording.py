"""Recordings of real traffic: what is kept, what reads it, and what cannot stop the stream."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from support.conversation import ANSWER, connected, unanswered

ENOUGH_S = 45.0  # only where a test fails


@pytest.fixture
def folder(installed, backend):
    """A directory for the recording, of the user that the probe runs as."""
    made = Path(tempfile.mkdtemp(prefix="recording-", dir=installed.traffic.parent))
    if backend.user != "root" and os.geteuid() == 0:
        made.chmod(0o777)
    yield made / "ring"
    shutil.rmtree(made)


@pytest.fixture
def ask(installed, netns, backend, folder):
    """Run a command on the recording; its output."""

    def run(*words):
        called = [str(installed.command), "--record", folder, *words]
        done = subprocess.run(
            [*netns.command(backend.user), *map(str, called)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def lines_of(folder):
    """The lines of the recording, as any program reads them."""
    done = subprocess.run("zcat -- *", shell=True, cwd=folder, capture_output=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def has_records(folder):
    return any(one.stat().st_size for one in folder.glob("*.gz"))


def remove(folder):
    """Remove the directory; False where the probe has made a file in it meanwhile."""
    try:
        shutil.rmtree(folder)
    except OSError:
        return False
    return True


def wait_until(condition):
    deadline = time.monotonic() + ENOUGH_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def rest(records):
    """What is no bandwidth: of that, intervals may be merged for a slow reader."""
    return sorted(
        (ts, kind, entity, pid, value)
        for ts, kind, entity, pid, value in records
        if kind != "transport.bw"
    )


def test_after_sigkill_the_recording_has_what_was_written(probe, worker, folder, ask):
    """Each record of the stream up to an interval that is recorded; and the commands answer."""
    running = probe("--record", folder)
    server, client, _ = connected(worker)
    unanswered(server, client)
    running.wait_for(lambda c: len(c.stalls(pid=client.pid, ongoing=True)) >= 3)
    last = running.wait_for(lambda c: c.records[-1].ts)
    wait_until(lambda: has_records(folder))
    wait_until(lambda: any(line["ts"] >= last for line in lines_of(folder)))
    running.process.kill()
    running.process.wait(ENOUGH_S)
    names = ("ts", "event_type", "entity_id", "pid", "value")
    found = rest([line[name] for name in names] for line in lines_of(folder) if line["ts"] < last)
    streamed = [r for r in running.consumer.records if r.ts < last]
    assert found == rest([getattr(r, name) for name in names] for r in streamed)
    assert [one for one in found if one[3] == client.pid]
    recalled = json.loads(ask("why", client.pid, "--since", "10m", "--json"))
    (stall,) = recalled["stalls"]
    assert (stall["direction"], stall["cause"], stall["end"]) == ("receive", "no_reply", None)
    assert recalled["verdict"].startswith("waits ")
    blamed = json.loads(ask("blame", "--since", "10m", "--pid", client.pid, "--json"))
    assert [one["waiters"] for one in blamed["culprits"]] == [[client.pid]]


def test_a_process_that_has_exited_is_explained(probe, worker, folder, ask):
    """Its stall has its length, whichever command is asked afterwards."""
    running = probe("--record", folder)
    server, client, identity = connected(worker)
    unanswered(server, client)
    running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=True))
    server.ask("send", ANSWER)
    client.expect("ask")
    (over,) = running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=False))
    client.close()
    running.stop()
    (stall,) = json.loads(ask("why", client.pid, "--since", "1h", "--json"))["stalls"]
    assert (stall["duration_ms"], stall["remote"]) == (over.net["duration_ms"], identity["remote"])
    assert stall["end"] - stall["begin"] == stall["duration_ms"]
    frames = ask("top", "--replay", folder)
    assert f"for data from {identity['remote']} (no_reply), ended just now" in frames


def test_a_full_disk_does_not_stop_the_stream(probe, folder):
    """What is not kept is counted in the stream, and named once on stderr."""
    running = probe("--record", folder, prefix=("prlimit", "--fsize=0"))
    running.wait_for(lambda c: len(not_kept(c)) >= 2)
    running.wait_for_intervals(2)
    running.stop()
    assert not list(folder.glob("*.gz"))
    assert running.stderr.count(b"File too large; records that are not kept") == 1


def not_kept(consumer):
    return [r for r in consumer.records if r.net.get("where") == "recording"]


def test_a_removed_directory_is_made_again(probe, folder):
    """Nothing is dropped, and the stream goes on."""
    running = probe("--record", folder)
    wait_until(lambda: has_records(folder))
    wait_until(lambda: remove(folder))
    wait_until(lambda: has_records(folder))
    assert not_kept(running.stop()) == []


def test_a_second_probe_does_not_touch_the_recording(probe, folder, installed, netns, backend):
    """It is refused in one line; the first goes on."""
    running = probe("--record", folder)
    words = [*netns.command(backend.user), str(installed.command), *backend.options]
    done = subprocess.run(
        [*words, "--record", folder], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "another probe records there" in line
    running.wait_for_intervals(1)
    assert not_kept(running.stop()) == []


def test_only_the_owner_may_read(probe, folder):
    """Whatever the umask."""
    running = probe("--record", folder, prefix=("sh", "-c", 'umask 0; exec "$@"', "sh"))
    wait_until(lambda: has_records(folder))
    running.stop()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {one.stat().st_mode & 0o777 for one in folder.iterdir()} == {0o600}
