"""Which source is taken, and the reasons for the others."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.without_numpy import run_without_numpy

from xctl_probe.aggregate import Filter
from xctl_probe.config.choices import Backend
from xctl_probe.errors import SourceUnavailable
from xctl_probe.metrics import DEFAULT, Metric
from xctl_probe.sources import select
from xctl_probe.sources.select import open_source

EBPF, BCC, PROC = Backend.EBPF, Backend.BCC, Backend.SAMPLER


@pytest.fixture
def works(monkeypatch):
    """Make these backends work; `tried` has those that were tried, in order."""
    tried = []

    def make(*backends):
        def opener(backend):
            def open_it(_settings):
                tried.append(backend)
                if backend not in backends:
                    raise SourceUnavailable(f"no {backend} here")
                return SimpleNamespace(name=backend.value, description="all")

            return open_it

        monkeypatch.setattr(select, "_OPENERS", {b: opener(b) for b in (EBPF, BCC, PROC)})
        return tried

    return make


def asked(backend, metrics=DEFAULT):
    return SimpleNamespace(backend=backend, wanted=Filter(metrics=metrics))


@pytest.mark.parametrize(
    ("working", "line", "order"),
    [
        ((EBPF, BCC, PROC), "source ebpf (all)", [EBPF]),
        ((BCC, PROC), "source bcc (all); not ebpf: no ebpf here", [EBPF, BCC]),
        (
            (PROC,),
            "source sampler (all); not ebpf: no ebpf here; not bcc: no bcc here",
            [EBPF, BCC, PROC],
        ),
    ],
)
def test_the_best_that_works_is_taken(works, working, line, order):
    """One line names it, and why not the better ones."""
    tried = works(*working)
    source, printed = open_source(asked(Backend.AUTO))
    assert (source.name, printed, tried) == (order[-1].value, line, order)


def test_none_is_an_error_that_names_all_reasons(works):
    """Exit code 1, not a probe that sees nothing."""
    works()
    with pytest.raises(SourceUnavailable) as caught:
        open_source(asked(Backend.AUTO))
    assert str(caught.value) == (
        "not ebpf: no ebpf here; not bcc: no bcc here; not sampler: no sampler here"
    )
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("backend", [EBPF, BCC, PROC])
def test_the_one_that_was_asked_for_is_taken_or_fails(works, backend):
    """Never another in its place, and no other is tried."""
    tried = works(backend)
    assert open_source(asked(backend))[1] == f"source {backend} (all)"
    works()
    with pytest.raises(SourceUnavailable, match=f"^--backend {backend}: no {backend} here$"):
        open_source(asked(backend))
    assert tried == [backend, backend]


@pytest.mark.parametrize(
    ("metrics", "ports", "beside"),
    [
        ({Metric.RDMA}, [], "; no RDMA port on this host"),
        ({Metric.RDMA}, ["mlx5_0"], ""),
        ({Metric.PACKETS}, [], ""),
    ],
)
def test_no_source_is_tried_where_no_metric_needs_one(works, monkeypatch, metrics, ports, beside):
    """RDMA is read from files: nothing is loaded for it, and it works without any source.

    Where there is none either, the start line names that: no record will come.
    """
    monkeypatch.setattr(select, "port_names", lambda: ports)
    tried = works()
    for backend in (Backend.AUTO, EBPF):
        source, printed = open_source(asked(backend, frozenset(metrics)))
        assert printed == f"source none (no metric of --metrics needs one){beside}"
        assert source.drain(7).events == []
    assert tried == []


def test_a_library_that_is_missing_is_named_with_the_remedy():
    """Only the sampler needs NumPy."""
    done = run_without_numpy("--backend", "sampler")
    assert done.returncode == 1
    assert "needs numpy, which is not installed: install python3-numpy (apt)" in done.stderr
