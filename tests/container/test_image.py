"""The container image: what is in it, and what it sees with and without the host's namespaces.

It is made from Debian's archive and PyPI, unpacked from the archive, and run by bubblewrap as a
runtime runs it: a root that cannot be written, four capabilities, no_new_privs.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from support.backends import EBPF
from support.conversation import QUESTION, connected, transfer, unanswered
from support.probe import Probe
from support.require import require, require_tools
from support.waiting import until

MAKER = Path(__file__).parents[2] / "packaging/container/image.py"
MOST_BYTES = 80_000_000
CAPS = ("CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH")
COMMAND = "/usr/bin/xctl-probe-network"
BULK = 300_000


def made(folder, *architecture):
    """The archive, for the architecture of this machine by default."""
    require_tools("apt-get", "dpkg-deb", "skopeo")
    subprocess.run([sys.executable, MAKER, folder, *architecture], check=True)
    (archive,) = folder.glob("*.oci.tar")
    return archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    require(os.geteuid() == 0, "run the tests as root")
    require_tools("bwrap")
    return made(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def layer(archive):
    return layer_of(archive)


def layer_of(archive):
    """The layer of the archive, found as a runtime finds it: each blob has its own digest."""
    with tarfile.open(archive) as tar:
        files = {one.name: tar.extractfile(one).read() for one in tar.getmembers()}

    def blob(described):
        found = files[f"blobs/{described['digest'].replace(':', '/')}"]
        assert f"sha256:{hashlib.sha256(found).hexdigest()}" == described["digest"]
        assert len(found) == described["size"]
        return found

    (described,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(blob(described))
    config = json.loads(blob(manifest["config"]))
    (only,) = manifest["layers"]
    unpacked = gzip.decompress(blob(only))
    (difference,) = config["rootfs"]["diff_ids"]
    assert f"sha256:{hashlib.sha256(unpacked).hexdigest()}" == difference
    assert config["config"]["Entrypoint"] == [COMMAND]
    return unpacked


@pytest.fixture(scope="module")
def root(layer):
    folder = Path(tempfile.mkdtemp(prefix="xctl-image-", dir="/tmp"))
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        tar.extractall(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def image(root):
    """The image in the place of the installed command; the host's namespaces are named."""

    def words(*shared):
        own = [f"--unshare-{one}" for one in ("ipc", "uts", "pid", "net") if one not in shared]
        caps = [word for one in CAPS for word in ("--cap-add", one)]
        # --dev has a /dev/null, and /sys is the host's: what a runtime mounts.
        return ["bwrap", "--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev",
                "--ro-bind", "/sys", "/sys", "--tmpfs", "/run", "--cap-drop", "ALL", *caps, *own,
                "--die-with-parent", COMMAND]  # fmt: skip

    return words


@pytest.fixture
def start(image, netns):
    """Start the image as a probe, with these namespaces of its host: `netns` is its network."""
    started = []

    def run(*shared, interval=0.2):
        *prefix, command = image(*shared)
        options = ("--backend", "ebpf", "--interval", interval, "--loopback", "--min-bw", "0")
        stand_in = SimpleNamespace(command=command)
        started.append(Probe(stand_in, netns, *options, user="root", prefix=prefix))
        started[-1].wait_ready()
        return started[-1]

    yield run
    for one in started:
        one.close()
        print(one.story("what the probe said:"))


@pytest.fixture
def scene(worker):
    """Bytes between two processes of the host, and one that waits for the other."""

    def play():
        server, client, identity = connected(worker)
        transfer(client, server, BULK)
        unanswered(server, client)
        return client, f"127.0.0.1:{identity['port']}"

    return play


def waits_for(consumer, remote):
    """The pids of stalls whose peer is at this address."""
    return {one.pid for one in consumer.stalls() if one.net["remote"] == remote}


def test_it_is_small_and_has_no_shell(archive, layer):
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        entries = tar.getmembers()
    size = sum(one.size for one in entries)
    print(f"{archive.stat().st_size / 1e6:.1f} MB packed, {size / 1e6:.1f} MB unpacked")
    assert size < MOST_BYTES
    programs = {one.name for one in entries if "/bin/" in one.name or "/sbin/" in one.name}
    python = f"usr/bin/python{sys.version_info[0]}"
    assert {one for one in programs if not one.startswith(python)} == {COMMAND.strip("/")}
    assert {(one.uid, one.gid, one.mtime) for one in entries} == {(0, 0, 0)}
    assert not any(one.mode & 0o7022 for one in entries if not one.issym())


def test_the_image_of_another_machine_has_nothing_of_this_one(tmp_path):
    """Its programs are not run here: the machine of each file of code is read."""
    machines = {"amd64": 0x3E, "arm64": 0xB7}  # e_machine, elf(5)
    own = platform.machine()
    (other,) = machines.keys() - {{"x86_64": "amd64", "aarch64": "arm64"}[own]}
    found = []
    with tarfile.open(fileobj=io.BytesIO(layer_of(made(tmp_path, other)))) as tar:
        for one in tar.getmembers():
            if one.isreg() and not one.name.endswith(".bpf.o"):
                head = tar.extractfile(one).read(20)
                if head.startswith(b"\x7fELF"):
                    found.append(int.from_bytes(head[18:20], "little"))
    assert set(found) == {machines[other]}
    assert len(found) > 30  # Python, its modules, and their libraries
    words = ["skopeo", "inspect", f"oci-archive:{next(tmp_path.glob('*.oci.tar'))}"]
    shown = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    assert shown["Architecture"] == other


def test_other_programs_read_the_archive(archive):
    words = ["skopeo", "inspect", f"oci-archive:{archive}"]
    inspected = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    assert (inspected["Os"], len(inspected["Layers"])) == ("linux", 1)


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("check",)])
def test_its_commands_find_what_they_need(image, words):
    """Some libraries are left out of it."""
    done = subprocess.run([*image("pid", "net"), *words], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_with_the_host_s_pids_and_network_it_sees_all(start, scene):
    probe = start("pid", "net")
    pid = scene()[0].pid
    probe.wait_for(lambda c: c.sent_bytes(pid) >= BULK + QUESTION)
    probe.wait_for(lambda c: c.stalls(pid=pid, ongoing=True))
    assert {one.entity_id for one in probe.consumer.process_bandwidth(pid)} == {"lo"}


def test_without_the_host_s_network_interfaces_have_no_names(start, scene):
    """Counters are those of the container's own, and peers are out of reach: CAP_SYS_ADMIN."""
    probe = start("pid")
    client, remote = scene()
    pid = client.pid
    probe.wait_for(lambda c: c.sent_bytes(pid) >= BULK + QUESTION)
    assert {one.entity_id for one in probe.consumer.process_bandwidth(pid)} == {"unknown"}
    probe.wait_for_intervals(7)
    consumer = probe.consumer
    assert sum(one.net["rx_bytes"] for one in consumer.interface_bandwidth("lo")) == 0
    assert waits_for(consumer, remote) == set()


def test_without_the_host_s_pids_there_are_no_processes(start, scene):
    """Their bytes and waits are there, and attributed to none: some bytes only at the close."""
    probe = start("net")
    client, remote = scene()
    sees_waits = EBPF.as_started(probe.stderr.decode()).sees("outside_processes")
    probe.wait_for_intervals(7)
    if not sees_waits:
        assert probe.consumer.unattributed_bytes() == 0
        client.close()
    probe.wait_for(lambda c: c.unattributed_bytes() >= BULK + QUESTION)
    probe.wait_for_intervals(7)
    consumer = probe.consumer
    assert sum(one.net["rx_bytes"] for one in consumer.interface_bandwidth("lo")) >= BULK
    assert consumer.process_bandwidth() == []
    assert waits_for(consumer, remote) == ({None} if sees_waits else set())


def test_with_neither_it_sees_its_own_interfaces(start, scene):
    probe = start()
    _, remote = scene()
    probe.wait_for_intervals(7)
    consumer = probe.consumer
    assert sum(one.net["rx_bytes"] for one in consumer.interface_bandwidth("lo")) == 0
    assert consumer.process_bandwidth() == []
    assert waits_for(consumer, remote) == set()


def test_the_probes_of_kubernetes_are_answered(start):
    """The command of the DaemonSet, run in the container, whose only program it is.

    Until it is healthy: an interval that a busy host delays by half of its length is late, and
    what others on the host lose is lost by this probe.
    """
    probe = start("pid", "net", interval=1)
    # Parents come before their children: the others are its helpers.
    inside, *_ = [
        one
        for one in psutil.Process(probe.pid).children(recursive=True)
        if COMMAND in one.cmdline()
    ]
    words = ["nsenter", "-t", str(inside.pid), "-m", COMMAND, "status", "--check"]

    def healthy():
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        print(done.stdout, done.stderr)
        return done.returncode == 0 and done

    assert until(healthy).stdout.startswith("healthy")
