"""What `status` prints: every figure at its place, and nothing that a terminal obeys."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from support.status import STATUS, WITHOUT_KERNEL

from xctl_probe.commands.status.report import Shown, shown, to_json, to_text, verdict
from xctl_probe.figures import MapFigures
from xctl_probe.status.client import Found, Reply, decoded
from xctl_probe.status.document import to_json as document_of

FOUND = Found(Path("/run/xctl-probe-network"), "4241-0123456789abcdef.sock", 1_009)
KERNEL = """\
pid 4241 (uid 1009): healthy
  start      source ebpf (tracepoint: TCP and UDP by process, exact)
  uptime     2 h 12 min, kernel 6.18.1 x86_64
  intervals  7,949 of 1.0 s; 3 late (by at most 2.3 s), 5 missed; the last 0.31 s ago took 11 ms,
             the longest 83 ms
  records    120,331 written, 17 merged, 29 dropped; 2 queued (1013 bytes of 4.0 MiB)
  stalls     19 reported now
  dropped    waits 1,013, ring 3
  ring       352 bytes of 1.0 MiB used, 22.5 KiB at most
  counts     open_stalls 19, network_namespaces 2
  process    0.08 % of a core, 23.0 MiB, 2 threads, 37 descriptors
  features   ring_buffer, run_statistics
  lacks      links
  hooks      sock_send_length, sock_recv_length
  no hooks   inet_sendpage
  refused    tcp_sendmsg_locked
  not used   fentry: the kernel refuses BPF trampolines; kprobe: this kernel has none
  map                      entries     at most        memory
  sockets                        -           -     480 bytes
  processes                     53      16,384             -
  program                     runs    ns a run        misses
  on_send                1,000,003          38             7
  on_reset                       0           -             0
"""
SAMPLER = """\
pid 7 (uid 0): closed the connection without an answer

pid 4241 (uid 1009): healthy
  start      source sampler (sock_diag: TCP by process; UDP only by interface)
  uptime     2 h 12 min, kernel 6.18.1 x86_64
  intervals  7,949 of 1.0 s; 3 late (by at most 2.3 s), 5 missed; the last 0.31 s ago took 11 ms,
             the longest 83 ms
  records    120,331 written, 17 merged, 29 dropped; 2 queued (1013 bytes of 4.0 MiB)
  stalls     19 reported now
  dropped    nothing
  counts     sockets 97
  process    0.08 % of a core, 23.0 MiB, 2 threads, 37 descriptors
  features   sock_diag
"""


def of(status, pid=4_241):
    return shown(Reply(FOUND, pid, json.loads(document_of(status))))


def failed(pid=7, failure="does not answer within 3 s"):
    return shown(Reply(replace(FOUND, uid=0), pid, failure=failure))


def test_all_figures_of_the_kernel_source():
    assert to_text([of(STATUS)]).decode() == KERNEL


def test_a_probe_without_an_answer_is_a_line():
    first = failed(failure="closed the connection without an answer")
    assert to_text([first, of(WITHOUT_KERNEL)]).decode() == SAMPLER


def test_where_runs_are_not_counted_the_remedy_is_named():
    programs = tuple(replace(p, runs=None, run_ns=None) for p in STATUS.figures.programs)
    status = replace(STATUS, figures=replace(STATUS.figures, programs=programs))
    *_, before, last = to_text([of(status)]).decode().splitlines()
    assert before.split() == ["on_reset", "-", "-", "0"]
    assert last == "  the kernel counts runs while sysctl kernel.bpf_stats_enabled is 1"


def test_what_another_user_answers_is_bounded_and_printable():
    """It may be anything of the right types."""
    maps = (MapFigures("m\x1b[2J" + "x" * 4_099, "hash", 1, 1, 1),) * 1_009
    figures = replace(STATUS.figures, maps=maps, features={"\x1b" * 4_099: True})
    status = replace(STATUS, choice="\x1b]0;title\x07" * 4_099, figures=figures)
    text = to_text([of(status)])
    assert len(text) < 20_000
    assert not [byte for byte in text if byte < 0x20 and byte != 0x0A]


def test_the_health_of_another_users_probe_is_bounded():
    """Its places have any names, and what it answers with is in the text of a failure."""
    lost = {"\x1b" * 4_099 + str(number): 7 for number in range(9)}
    status = of(replace(STATUS, lost=lost, lost_ago_ms=1))
    for made in (status, Shown(7, 1_009, STATUS, ("x" * 4_099,)), failed(failure="x" * 4_099)):
        assert len(to_text([made])) < 4_099
        assert len(verdict([made])) < 4_099
    assert verdict([failed(failure="x" * 4_099)] * 4).endswith(b"x; and 1 more\n")


def test_json_has_the_documents():
    found = json.loads(to_json([of(STATUS), failed()]))
    assert found == {
        "healthy": False,
        "probes": [
            {
                "pid": 4_241,
                "uid": 1_009,
                "healthy": True,
                "reasons": [],
                "status": json.loads(document_of(STATUS)),
            },
            {
                "pid": 7,
                "uid": 0,
                "healthy": False,
                "reasons": ["does not answer within 3 s"],
                "status": None,
            },
        ],
    }
    assert json.loads(to_json([])) == {"healthy": False, "probes": []}


def test_something_else_than_a_status_is_a_failure():
    made = shown(Reply(FOUND, 7, {"pid": "x"}))
    other = "answers with something else than a status: a str is not of type <class 'int'>"
    assert made.problems == (other,)
    assert json.loads(to_json([made]))["probes"][0]["status"] is None


def test_an_answer_that_is_nested_deeply_is_one_like_any_other():
    """JSON is read to a greater depth than it is written."""
    deep = b"[" * 1_000 + b"]" * 1_000
    answer = document_of(STATUS).rstrip()[:-1]
    unknown = decoded(FOUND, 7, answer + b',"more":' + deep + b"}")
    assert shown(unknown).healthy
    assert json.loads(to_json([shown(unknown)]))["healthy"]
    known = decoded(FOUND, 7, answer + b',"lost":' + deep + b"}")
    assert shown(known).problems[0].startswith("answers with something else than a status: a list")


def test_a_health_check_is_one_line():
    assert verdict([of(STATUS)]) == b"healthy: 1 probe\n"
    assert verdict([of(STATUS), of(WITHOUT_KERNEL)]) == b"healthy: 2 probes\n"
    late = Shown(4_241, 0, STATUS, ("one\nline",))
    assert verdict([late, failed()]) == (
        b"unhealthy: pid 4241: one\\nline; pid 7: does not answer within 3 s\n"
    )
    assert verdict([failed()] * 7).endswith(b"; and 4 more\n")
