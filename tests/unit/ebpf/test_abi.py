"""The kernel's records and Python's decoding of them agree, by the compiled objects' own BTF."""

from __future__ import annotations

import re
import struct
from enum import IntEnum
from itertools import pairwise
from pathlib import Path

import pytest

from xctl_probe import events
from xctl_probe.bcc import program
from xctl_probe.ebpf import abi, endpoints, loader, packets, payload, profile
from xctl_probe.ebpf.call_trace import CALL, Call

BPF = Path(__file__).parents[3] / "bpf"
OBJECTS, INCLUDE = BPF / "objects/x86_64", BPF / "include"

Field = tuple[str, int, int]  # name, offset, size, in bytes

KIND_INT, KIND_PTR, KIND_ARRAY, KIND_STRUCT, KIND_UNION, KIND_ENUM = 1, 2, 3, 4, 5, 6
KIND_FUNC_PROTO, KIND_VAR, KIND_DATASEC, KIND_DECL_TAG, KIND_ENUM64 = 13, 14, 15, 17, 19
SAME_SIZE_AS = {8, 9, 10, 11, 18}  # typedef, volatile, const, restrict, type tag
POINTER_BYTES = 8


def section(image: bytes, wanted: str) -> bytes:
    """A section of an ELF file (elf.5)."""
    (table,) = struct.unpack_from("<Q", image, 40)
    entry_bytes, entries, names_at = struct.unpack_from("<HHH", image, 58)

    def header(index: int) -> tuple[int, int, int]:
        at = table + index * entry_bytes
        name, offset, size = struct.unpack_from("<I20xQQ", image, at)
        return name, offset, size

    _, strings, _ = header(names_at)
    for index in range(entries):
        name, offset, size = header(index)
        end = image.index(b"\0", strings + name)
        if image[strings + name : end].decode() == wanted:
            return image[offset : offset + size]
    raise LookupError(wanted)


class Btf:
    """The structs in a .BTF section (Documentation/bpf/btf.rst)."""

    def __init__(self, raw: bytes) -> None:
        header_bytes, types_at, types_len, strings_at, _ = struct.unpack_from("<IIIII", raw, 4)
        self.strings = raw[header_bytes + strings_at :]
        self.types: list[tuple[int, int, int, bytes]] = [(0, 0, 0, b"")]
        at = header_bytes + types_at
        end = at + types_len
        while at < end:
            name, info, size_or_type = struct.unpack_from("<III", raw, at)
            kind, count = info >> 24 & 0x1F, info & 0xFFFF
            more = {
                KIND_INT: 4,
                KIND_ARRAY: 12,
                KIND_STRUCT: 12 * count,
                KIND_UNION: 12 * count,
                KIND_ENUM: 8 * count,
                KIND_FUNC_PROTO: 8 * count,
                KIND_VAR: 4,
                KIND_DATASEC: 12 * count,
                KIND_DECL_TAG: 4,
                KIND_ENUM64: 12 * count,
            }.get(kind, 0)
            self.types.append((kind, name, size_or_type, raw[at + 12 : at + 12 + more]))
            at += 12 + more

    def name(self, at: int) -> str:
        return self.strings[at : self.strings.index(b"\0", at)].decode()

    def size(self, index: int) -> int:
        kind, _, size_or_type, extra = self.types[index]
        if kind in SAME_SIZE_AS:
            return self.size(size_or_type)
        if kind == KIND_PTR:
            return POINTER_BYTES
        if kind == KIND_ARRAY:
            element, _, count = struct.unpack("<III", extra)
            return self.size(element) * count
        return size_or_type

    def struct_bytes(self, struct_name: str) -> int:
        for kind, name, size, _ in self.types:
            if kind == KIND_STRUCT and self.name(name) == struct_name:
                return size
        raise LookupError(struct_name)

    def fields(self, struct_name: str) -> list[Field]:
        for kind, name, _, extra in self.types:
            if kind == KIND_STRUCT and self.name(name) == struct_name:
                members = struct.iter_unpack("<III", extra)
                return [(self.name(n), bits // 8, self.size(t)) for n, t, bits in members]
        raise LookupError(struct_name)


def places(layout: struct.Struct) -> list[tuple[int, int]]:
    """Offset and size of each field of a format."""
    parts = re.findall(r"(\d*)([A-Za-z])", layout.format)
    single: list[str] = []
    for count, code in parts:
        single += [count + code] if code == "s" else [code] * int(count or 1)
    bounds = [struct.calcsize("=" + "".join(single[:i])) for i in range(len(single) + 1)]
    return [(start, end - start) for start, end in pairwise(bounds)]


@pytest.mark.parametrize(
    ("image", "name", "layout"),
    [
        ("tracepoint.bpf.o", "event", abi.RECORD),
        ("tracepoint.bpf.o", "process_key", abi.PROCESS_KEY),
        ("tracepoint.bpf.o", "process_traffic", abi.PROCESS_TRAFFIC),
        ("tracepoint.bpf.o", "peer", abi.PEER),
        ("tracepoint.bpf.o", "endpoint_key", abi.ENDPOINT_KEY),
        ("tracepoint.bpf.o", "endpoint", abi.ENDPOINT),
        ("tracepoint.bpf.o", "settings", abi.SETTINGS),
        ("call_trace.bpf.o", "call", CALL),
        ("profile.bpf.o", "call_key", profile.CALL_KEY),
        ("profile.bpf.o", "failure_key", profile.FAILURE_KEY),
        ("profile.bpf.o", "call_in_flight", profile.IN_FLIGHT),
        ("profile.bpf.o", "profile_settings", profile.SETTINGS),
        ("packets.bpf.o", "packet_key", packets.KEY),
    ],
)
def test_each_field_is_where_the_compiler_put_it(
    image: str, name: str, layout: struct.Struct
) -> None:
    btf = Btf(section((OBJECTS / image).read_bytes(), ".BTF"))
    assert [(offset, size) for _, offset, size in btf.fields(name)] == places(layout)


def test_the_counts_of_a_call_are_as_large_as_the_kernels() -> None:
    """Six numbers, and the buckets behind them."""
    btf = Btf(section((OBJECTS / "profile.bpf.o").read_bytes(), ".BTF"))
    fields = btf.fields("call_stats")
    assert btf.struct_bytes("call_stats") == profile.CALL_STATS.size
    assert fields[6] == ("buckets", 6 * 8, profile.BUCKETS * 8)


def test_a_message_and_counts_of_packets_are_as_long() -> None:
    """Their structs are used by pointers only, so these are from the headers."""
    header = (INCLUDE / "payload_abi.h").read_text()
    sizes = {"__u64": "Q", "__u32": "I", "__u16": "H", "__u8": "B"}
    body = re.search(r"struct payload {(.*?)};", header, flags=re.DOTALL)
    assert body
    layout = "".join(sizes[kind] for kind in re.findall(r"(__u\d+) \w+;", body[1]))
    assert f"={layout}" == payload.HEAD.format
    kinds = re.findall(r"\tPACKET_(\w+),", (INCLUDE / "packets_abi.h").read_text())
    assert [kind.lower() for kind in kinds[:-1]] == [
        kind.removesuffix("s") for kind in events.PACKET_KINDS
    ]
    assert packets.COUNTS.size == 16 * len(events.PACKET_KINDS)


def test_the_maps_that_grow_are_those_of_the_loader() -> None:
    """A hash that it does not know would make an older kernel warn."""
    header = (INCLUDE / "maps.bpf.h").read_text()
    structs = re.findall(r"struct {([^}]*)} (\w+) SEC", header)
    growing = [name for body, name in structs if "TYPE_HASH" in body and "NO_PREALLOC" in body]
    assert sorted(growing) == sorted(loader._GROWING)


def test_bcc_makes_room_for_what_is_remembered_of_a_socket() -> None:
    """Else its compiler refuses the program, on the user's host."""
    btf = Btf(section((OBJECTS / "kprobe.bpf.o").read_bytes(), ".BTF"))
    assert btf.struct_bytes("sock_state") == program._MEMORY_BYTES


@pytest.mark.parametrize(
    ("image", "name", "fields"),
    [
        ("tracepoint.bpf.o", "event", abi.RawEvent._fields),
        ("call_trace.bpf.o", "call", Call._fields),
    ],
)
def test_each_field_has_its_name(image: str, name: str, fields: tuple[str, ...]) -> None:
    btf = Btf(section((OBJECTS / image).read_bytes(), ".BTF"))
    expected = [field for field, _, _ in btf.fields(name)]
    assert [field.removeprefix("raw_") for field in fields] == expected


def constants(enum: str, prefix: str) -> list[tuple[str, int]]:
    """The entries of the header's enum, without comments and without its count of entries."""
    header = re.sub(r"/\*.*?\*/", "", (INCLUDE / "abi.h").read_text(), flags=re.DOTALL)
    found = re.search(rf"enum {enum} {{(.*?)}};", header, flags=re.DOTALL)
    assert found
    value = -1
    result = []
    for line in filter(None, (part.strip() for part in found[1].split(","))):
        name, _, given = line.partition("=")
        value = int(given) if given else value + 1
        result.append((name.strip().removeprefix(prefix), value))
    return [entry for entry in result if entry[0] != "PLACES"]


@pytest.mark.parametrize(
    ("enum", "prefix", "ours"),
    [
        ("record_kind", "RECORD_", abi.Kind),
        ("stall_direction", "STALL_", abi.StallDirection),
        ("evidence", "SEEN_", abi.Evidence),
        ("lost_where", "LOST_", abi.LostWhere),
    ],
)
def test_each_constant_has_its_value(enum: str, prefix: str, ours: type[IntEnum]) -> None:
    assert [(member.name, member.value) for member in ours] == constants(enum, prefix)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("ENDPOINT_PLACES", endpoints.PLACES),
        ("ENDPOINT_TRIES", endpoints.TRIES),
        ("ENDPOINT_SHIFT", endpoints.SHIFT),
        ("PEER_HASH_FACTOR", endpoints.FACTOR),
    ],
)
def test_a_peer_is_sought_where_the_kernel_puts_it(name: str, ours: int) -> None:
    found = re.search(rf"#define {name} (\w+)", (INCLUDE / "abi.h").read_text())
    assert found
    assert int(found[1].removesuffix("ULL"), 0) == ours


def test_bcc_knows_each_field_that_the_programs_ask_for() -> None:
    """It would not compile, on the user's host; what only objects ahead of time have is no part."""
    asked = set()
    for header in INCLUDE.glob("*.h"):
        if header.name not in ("bcc_compat.h", "tp_btf.bpf.h"):
            text = header.read_text()
            asked |= set(re.findall(r"bpf_core_field_exists\(([^,)]*)\)", text))
    known = set(re.findall(r'IS_NAME\(#field, "(.*?)"\)', (INCLUDE / "bcc_compat.h").read_text()))
    assert asked == known


def test_a_drift_would_be_seen() -> None:
    """One field more in Python than in the object is a difference."""
    btf = Btf(section((OBJECTS / "tracepoint.bpf.o").read_bytes(), ".BTF"))
    drifted = struct.Struct(abi.RECORD.format + "I")
    assert [(offset, size) for _, offset, size in btf.fields("event")] != places(drifted)
