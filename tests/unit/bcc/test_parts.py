"""What bcc needs: each missing piece is one sentence, with the remedy; and its flags."""

from __future__ import annotations

import re
import struct
import sys
from pathlib import Path

import pytest

from xctl_probe.bcc import (
    existing_sockets,
    find_package,
    kernel,
    kernel_headers,
    maps,
    program,
    source,
)
from xctl_probe.bcc.kernel_headers import Declared
from xctl_probe.ebpf.attach_variants import KPROBE
from xctl_probe.ebpf.loader import MapSizes
from xctl_probe.errors import SourceUnavailable
from xctl_probe.linux import procfs

BPF = Path(__file__).parents[3] / "bpf"
RELEASE = "6.1.0-50-amd64"


def package(place, marker="libbcc.py", body="lib = 'ours'"):
    folder = place / "bcc"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(body)
    (folder / marker).touch()
    return folder


@pytest.fixture
def unimported(monkeypatch):
    """Whatever a test imports as bcc is gone after it."""
    monkeypatch.delitem(sys.modules, "bcc", raising=False)
    yield
    sys.modules.pop("bcc", None)


def test_the_distributions_bcc_is_found_from_a_virtual_environment(tmp_path):
    """PyPI's package of this name, which the environment may have, is another thing."""
    other, ours = tmp_path / "venv", tmp_path / "dist-packages"
    package(other, marker="something_else.py")
    folder = package(ours)
    assert find_package.find([str(other)], [ours]) == folder


def test_without_it_both_package_managers_are_reported(tmp_path):
    with pytest.raises(SourceUnavailable, match=r"python3-bpfcc \(apt\) or python3-bcc \(dnf\)"):
        find_package.find([str(tmp_path)], [])


def test_it_is_imported_alone(tmp_path, unimported):
    """None of its neighbours comes along: the path of imports stays as it was."""
    folder = package(tmp_path)
    (tmp_path / "neighbour.py").touch()
    before = list(sys.path)
    assert find_package.load(folder).lib == "ours"
    assert sys.path == before
    assert find_package.load(folder) is sys.modules["bcc"]


def test_one_that_does_not_load_is_reported_and_forgotten(tmp_path, unimported):
    folder = package(tmp_path, body="import ctypes; ctypes.CDLL('libbcc.so.none')")
    with pytest.raises(SourceUnavailable, match=r"libbcc.so.none.*reinstall python3-bpfcc"):
        find_package.load(folder)
    assert "bcc" not in sys.modules


def headers_of(modules, release=RELEASE, *, split=True):
    build = modules / RELEASE / "build"
    (build / "include/generated").mkdir(parents=True)
    (build / "include/generated/utsrelease.h").write_text(f'#define UTS_RELEASE "{release}"\n')
    if split:
        (modules / RELEASE / "source/include").mkdir(parents=True)
    return modules


def test_headers_in_one_tree_or_in_two(tmp_path):
    """Debian parts what all variants of a kernel share from the rest."""
    assert kernel_headers.find(RELEASE, headers_of(tmp_path / "a")).name == "source"
    assert kernel_headers.find(RELEASE, headers_of(tmp_path / "b", split=False)).name == "build"


REMEDY = rf"install linux-headers-{RELEASE} \(apt\) or kernel-devel-{RELEASE} \(dnf\)$"


def test_headers_that_are_missing(tmp_path):
    with pytest.raises(SourceUnavailable, match=f"not installed.*{REMEDY}"):
        kernel_headers.find(RELEASE, tmp_path)


def test_headers_of_another_kernel(tmp_path):
    wrong = headers_of(tmp_path, "6.1.0-49-amd64")
    with pytest.raises(SourceUnavailable, match=f"those of kernel 6.1.0-49-amd64.*{REMEDY}"):
        kernel_headers.find(RELEASE, wrong)


TCP_5_10 = """
	u32	chrono_stat[3];	/* Time in jiffies for chrono_stat stats */
	u8	chrono_type:2,	/* current chronograph type */
		repair      : 1;
"""
TCP_6_12 = """
	u8	scaling_ratio;	/* see tcp_win_from_space() */
	u8	chrono_type : 2,	/* current chronograph type */
"""
TCP_7_2 = """
	u32	snd_sml;	/* Last byte of the most recently transmitted small packet */
	u8	chrono_type;	/* current chronograph type */
"""
RX_DST = "int sk_rx_dst_ifindex;"
TWO_ARGUMENTS = """
DEFINE_EVENT(tcp_event_sk_skb, tcp_retransmit_skb,

	TP_PROTO(const struct sock *sk, const struct sk_buff *skb),
"""
THREE_ARGUMENTS = """
TRACE_EVENT(tcp_retransmit_skb,

	TP_PROTO(const struct sock *sk, const struct sk_buff *skb, int err),
"""


def sources(folder, tcp, sock, events):
    for name, text in (
        ("include/linux/tcp.h", tcp),
        ("include/net/sock.h", sock),
        ("include/trace/events/tcp.h", events),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("tcp", "sock", "events", "found"),
    [
        (TCP_5_10, "", TWO_ARGUMENTS, Declared("chrono_stat", False, False)),
        (TCP_6_12, RX_DST, TWO_ARGUMENTS, Declared("scaling_ratio", True, False)),
        (TCP_7_2, RX_DST, THREE_ARGUMENTS, Declared("snd_sml", True, True)),
        (TCP_7_2, f"/* {RX_DST} */", THREE_ARGUMENTS, Declared("snd_sml", False, True)),
    ],
)
def test_what_kernels_declare_differently_is_read_from_their_headers(
    tmp_path, tcp, sock, events, found
):
    """The compiler cannot be asked where a bit-field is, or whether a member exists."""
    assert kernel_headers.declared(sources(tmp_path, tcp, sock, events)) == found


def test_headers_that_declare_something_else_are_refused(tmp_path):
    with pytest.raises(SourceUnavailable, match="use another --backend"):
        kernel_headers.declared(sources(tmp_path, "", "", TWO_ARGUMENTS))


def test_headers_that_are_incomplete_are_named(tmp_path):
    with pytest.raises(SourceUnavailable, match=r"incomplete \(.*tcp.h\)"):
        kernel_headers.declared(tmp_path)


@pytest.mark.parametrize("kind", ["kprobe", "uprobe"])
def test_a_kernel_without_probes(tmp_path, kind):
    (tmp_path / {"kprobe": "uprobe", "uprobe": "kprobe"}[kind]).mkdir()
    with pytest.raises(SourceUnavailable, match=f"no {kind}s: it needs CONFIG_{kind.upper()}_EV"):
        kernel.require_probes(tmp_path)


def test_nothing_is_imported_or_read_where_the_kernel_cannot(monkeypatch):
    """Without a right to BPF, or kprobes, 200 MB of compiler stay where they are."""
    monkeypatch.setattr(kernel, "require_privileges", lambda: None)
    for module, name in ((find_package, "find"), (find_package, "load"), (kernel_headers, "find")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("too early"))

    def none():
        raise SourceUnavailable("no kprobes")

    monkeypatch.setattr(kernel, "require_probes", none)
    with pytest.raises(SourceUnavailable, match="no kprobes"):
        source.BccSource()


def test_symbols_are_found_by_their_whole_name(tmp_path):
    table = tmp_path / "kallsyms"
    table.write_text(
        "ffffffff81000000 T tcp_sendmsg\n"
        "ffffffff82000000 T tcp_sendmsg_locked\n"
        "0000000000000000 t on_full [bcc]\n"
    )
    found = kernel.symbols(["tcp_sendmsg", "on_full", "absent"], table)
    assert found == {"tcp_sendmsg": 0xFFFFFFFF81000000, "on_full": 0}


@pytest.mark.parametrize(("text", "count"), [("0\n", 1), ("0-3\n", 4), ("0-3,8-11\n", 12)])
def test_a_value_for_each_possible_cpu(tmp_path, text, count):
    path = tmp_path / "possible"
    path.write_text(text)
    assert maps.possible_cpus(path) == count


class FakeLibrary:
    """Makes maps of no memory, or refuses ring buffers as kernels before 5.8 do."""

    def __init__(self, *, ring_buffers=True):
        self.made, self.entries = {}, {}
        self.flags = 0
        self.ring_buffers = ring_buffers

    def create(self, kind, name, key, value, entries, flags):
        if kind == maps.RINGBUF and not self.ring_buffers:
            return -1
        self.made[name.decode()] = (kind, key, value)
        self.entries[name.decode()] = entries
        self.flags |= flags
        return 1000 + len(self.made)


@pytest.mark.parametrize("ring_buffers", [True, False])
def test_each_map_of_the_program_is_made(monkeypatch, ring_buffers):
    """A name that only one side has would be an error of the compiler, on the user's host."""
    monkeypatch.setattr(program, "Ring", lambda *_: None)
    monkeypatch.setattr(program.os, "close", lambda _: None)
    library = FakeLibrary(ring_buffers=ring_buffers)
    tables, queue, _ = program._maps(library, MapSizes(), grow=True)
    header = (BPF / "include" / "bcc_compat.h").read_text()
    declared = set(re.findall(r"^MAP\((\w+)\)", header, re.MULTILINE))
    assert set(tables) == (declared - {"event_scratch_percpu"} if ring_buffers else declared)
    assert isinstance(queue, maps.Queue) is not ring_buffers


@pytest.mark.parametrize("grow", [True, False])
def test_hashes_grow_where_the_kernel_has_the_allocator(monkeypatch, grow):
    """Before 6.1 it warns of them, and its administrator may have it panic at a warning."""
    monkeypatch.setattr(program, "Ring", lambda *_: None)
    library = FakeLibrary()
    program._maps(library, MapSizes(), grow=grow)
    assert bool(library.flags & maps.NO_PREALLOC) is grow


@pytest.mark.parametrize(("cpus", "entries"), [(64, 16_384), (512, 131_072)])
def test_what_the_cpus_hold_ready_takes_no_room_of_what_is_remembered(monkeypatch, cpus, entries):
    monkeypatch.setattr(program, "Ring", lambda *_: None)
    monkeypatch.setattr(program, "possible_cpus", lambda: cpus)
    library = FakeLibrary()
    program._maps(library, MapSizes(), grow=True)
    least_recently_used = {
        name: library.entries[name]
        for name, (kind, _, _) in library.made.items()
        if kind == maps.LRU_HASH
    }
    assert least_recently_used == {"endpoints": entries, "udp_send_in_flight": entries}


def test_optional_programs_of_which_no_target_is_there_are_missing():
    present = dict.fromkeys(
        ("release_sock", "udp_sendmsg", "skb_consume_udp", "udp_destroy_sock"), 0
    )
    assert program._missing(present) == (
        *("end_udpv6", "begin_udpv6", "end_page", "begin_page"),
        *("on_full_buffer", "on_fdinfo"),
    )
    del present["skb_consume_udp"]
    with pytest.raises(SourceUnavailable, match="no skb_consume_udp that could be probed"):
        program._missing(present)


def test_every_program_is_in_the_source():
    text = (BPF / "bcc.c").read_text()
    defined = set(re.findall(r"^int (\w+)\(struct", text, re.MULTILINE))
    assert defined == {probe.program for probe in program._PROBES} | {"on_iterate"}


def test_bcc_has_the_hooks_of_kprobe_and_one_for_existing_sockets():
    """Functions in the same order, then what finds open sockets, then tracepoints."""
    found = [(hook.symbol, hook.at_return, hook.optional) for hook in program._PROBES]
    expected = [(hook.symbol, hook.at_return, hook.optional) for hook in KPROBE.hooks]
    expected.insert(
        sum(not hook.is_tracepoint for hook in KPROBE.hooks),
        (existing_sockets.FUNCTION, False, True),
    )
    assert found == expected


def test_open_sockets_are_seeded_with_their_holder(tmp_path):
    """Two passes over the descriptors that are sockets; the owner of each is set before."""
    written, read = [], []
    holder = tmp_path / "4711"
    for folder in ("fd", "fdinfo"):
        (holder / folder).mkdir(parents=True)
    (holder / "stat").write_text("4711 (a b) " + " ".join(map(str, range(3, 53))))
    (holder / "fd/3").symlink_to("socket:[23]")
    (holder / "fd/4").symlink_to("/dev/null")

    class Table:
        def update(self, key, value):
            written.append((struct.unpack("=I", key)[0], existing_sockets.SEEDING.unpack(value)))

    def read_file(path, most=procfs.MOST_BYTES):
        if "fdinfo" in str(path):
            read.append(path)
            return b""
        return procfs.read_once(path, most)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(procfs, "read", read_file)
        existing_sockets.seed(Table(), tmp_path)
    comm = b"a b".ljust(16, b"\0")
    assert written == [(0, (22, 4711, 1, comm)), (0, (22, 4711, 0, comm))]
    assert read == [holder / "fdinfo/3"] * 2
