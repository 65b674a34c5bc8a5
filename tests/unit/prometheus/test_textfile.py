"""The file: whole at any moment, gone after the probe, and no reason to stop the stream."""

from __future__ import annotations

import os
import time

import pytest
from support.metrics import total
from support.records import CLIENT, NOW_MS

from xctl_probe.errors import UsageError
from xctl_probe.exporters.records import BandwidthRecord
from xctl_probe.prometheus import textfile as module
from xctl_probe.prometheus.collector import Collector
from xctl_probe.prometheus.textfile import TextFile

SECOND_NS = 1_000_000_000
ENOUGH_S = 45.0  # only where a test fails


def record(rx):
    return BandwidthRecord(NOW_MS, "eth0", CLIENT, rx, 0, SECOND_NS)


@pytest.fixture
def reports():
    return []


@pytest.fixture
def start(reports, monkeypatch):
    monkeypatch.setattr(module, "_APART_S", 0.01)
    made = []

    def text_file(path):
        made.append(TextFile(path, Collector(SECOND_NS, ("", "ebpf")), reports.append))
        return made[-1]

    yield text_file
    for one in made:
        one.close(ENOUGH_S)


def wait_until(condition):
    deadline = time.monotonic() + ENOUGH_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def bytes_in(path):
    return total(path.read_bytes(), "process_bytes_total")


def test_the_file_has_the_metrics_and_is_gone_at_the_end(start, tmp_path, reports):
    path = tmp_path / "xctl.prom"
    one = start(path)
    assert total(path.read_bytes(), "probe_intervals_total") == 0  # from the start on
    one.put([record(1_009)])
    wait_until(lambda: bytes_in(path) == 1_009)
    one.put([record(7)])
    wait_until(lambda: bytes_in(path) == 1_016)
    assert path.stat().st_mode & 0o777 == 0o644
    one.close(ENOUGH_S)
    assert (list(tmp_path.iterdir()), reports) == ([], [])


def test_others_may_read_it_whatever_the_umask(start, tmp_path):
    before = os.umask(0o077)
    try:
        start(tmp_path / "xctl.prom")
    finally:
        os.umask(before)
    assert (tmp_path / "xctl.prom").stat().st_mode & 0o777 == 0o644


def test_a_link_in_its_place_is_replaced_and_not_followed(start, tmp_path):
    """Nor one in the place of the temporary file."""
    kept = tmp_path / "kept"
    kept.write_text("23")
    for name in ("xctl.prom", ".xctl.prom.tmp"):
        (tmp_path / name).symlink_to(kept)
    start(tmp_path / "xctl.prom")
    assert kept.read_text() == "23"
    assert not (tmp_path / "xctl.prom").is_symlink()


def test_a_disk_that_refuses_is_reported_once_and_tried_again(start, tmp_path, reports):
    folder = tmp_path / "metrics"
    folder.mkdir()
    one = start(folder / "xctl.prom")
    (folder / "xctl.prom").unlink()
    folder.rmdir()
    one.put([record(1_009)])
    wait_until(lambda: reports)
    one.put([record(7)])
    wait_until(lambda: not one._intake._queue)
    folder.mkdir()
    one.put([record(11)])
    wait_until((folder / "xctl.prom").exists)
    wait_until(lambda: bytes_in(folder / "xctl.prom") == 1_027)
    (line,) = reports
    assert "No such file or directory; the file is old until a write succeeds" in line


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing/xctl.prom", "No such file or directory"), ("file/xctl.prom", "Not a directory")],
)
def test_a_place_that_cannot_be_written_is_a_mistake(start, tmp_path, name, reason):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=f"{reason}; name a file in a directory that can be"):
        start(tmp_path / name)


def test_a_directory_in_its_place_is_a_mistake_and_leaves_nothing(start, tmp_path):
    (tmp_path / "xctl.prom").mkdir()
    with pytest.raises(UsageError, match="Is a directory"):
        start(tmp_path / "xctl.prom")
    assert [one.name for one in tmp_path.iterdir()] == ["xctl.prom"]
