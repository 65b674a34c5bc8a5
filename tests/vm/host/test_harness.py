"""The harness' own judgement, without a guest: which kernels, and what a run has proven."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from vm import boot, fetch, programs, results, suites
from vm.errors import GuestError, UnavailableError
from vm.expect import VARIANTS
from vm.fetch import _place
from vm.guest.features import NO, PROBES, UNKNOWN, YES, supports
from vm.suites import Package
from vm.table import BEGIN, END, replaced, table

KERNEL = fetch.Kernel("6.1.0-50-amd64", "6.1", "bookworm", "1", Path())
ALL = {probe.__name__: YES for probe in PROBES}


def held(suite, *releases, also=()):
    names = [f"linux-image-{release}" for release in releases]
    return suites.offers(suite, {n: Package(n, "1") for n in (*names, *also)}, "amd64")


def test_the_newest_ordinary_kernel_of_a_suite_is_taken():
    offers = held(
        "bookworm",
        "6.1.0-9-amd64",
        "6.1.0-50-amd64",
        "6.1.0-51-cloud-amd64",
        "6.1.0-52-rt-amd64",
        "6.1.0-53-amd64-unsigned",
        "6.1.0-54-arm64",
    )
    assert suites.choose("bookworm", offers).release == "6.1.0-50-amd64"
    assert suites.choose("6.1", offers).release == "6.1.0-50-amd64"


def test_all_parts_of_a_split_package_are_taken():
    parts = [f"linux-{part}-7.2.13+deb14-amd64" for part in ("binary", "modules", "base")]
    (offer,) = held("sid", "7.2.13+deb14-amd64", also=parts)
    assert [package.name for package in offer.packages][1:] == parts
    assert offer.series == (7, 2)


@pytest.mark.parametrize(
    ("backported", "taken"),
    [
        (("6.18.9+deb13-amd64", "6.18.15+deb13-amd64", "7.1.13+deb13-amd64"), "6.18.15"),
        (("7.0.13+deb13-amd64", "7.1.13+deb13-amd64", "7.2.12+deb13-amd64"), "7.1.13"),
    ],
)
def test_backports_do_not_repeat_what_sid_has(backported, taken):
    offers = held("trixie-backports", *backported) + held("sid", "7.2.13+deb14-amd64")
    assert suites.choose("backports", offers).release.startswith(taken)


def test_a_kernel_that_no_process_holds_is_an_error_that_names_those_there_are():
    with pytest.raises(UnavailableError, match=r"'4\.19'.*6\.1"):
        suites.choose("4.19", held("bookworm", "6.1.0-50-amd64"))


@pytest.mark.parametrize(
    ("member", "place"),
    [
        ("./boot/vmlinuz-6.1.0-50-amd64", "boot/vmlinuz-6.1.0-50-amd64"),
        ("./usr/lib/modules/R/vmlinuz", "boot/vmlinuz-R"),
        ("./lib/modules/R/kernel/net/tls/tls.ko", "lib/modules/R/kernel/net/tls/tls.ko"),
        ("./usr/lib/modules/R/kernel/fs/9p/9p.ko.xz", "lib/modules/R/kernel/fs/9p/9p.ko.xz"),
        ("./lib/modules/R/kernel/drivers/gpu/drm/drm.ko", None),
        ("./usr/share/doc/x", None),
        ("./boot/../../etc/passwd", None),
        ("./lib/modules/R/kernel/net/../../../../../etc/passwd", None),
    ],
)
def test_files_of_every_layout_land_in_one(member, place):
    found = _place(member, "R")
    assert (found and str(found)) == place


@pytest.mark.parametrize(
    ("marker", "again"),
    [
        ({}, False),
        ({"version": "0"}, True),
        ({"modules": "net/"}, True),
        (None, True),
    ],
)
def test_a_kernel_is_fetched_again_where_it_was_left_half_done_or_has_other_modules(
    tmp_path, monkeypatch, marker, again
):
    asked = []
    monkeypatch.setattr(fetch, "CACHE", tmp_path)
    mirror = SimpleNamespace(download=lambda packages, _: asked.append(packages) or [])
    monkeypatch.setattr(fetch, "_apt", lambda _: mirror)
    (offer,) = held("bookworm", "6.1.0-50-amd64")
    (tmp_path / offer.release).mkdir()
    if marker is not None:
        kept = {"version": "1", "suite": "bookworm", "modules": fetch._KEPT_MODULES.pattern}
        (tmp_path / offer.release / "kernel.json").write_text(json.dumps(kept | marker))
    if again:
        with pytest.raises(UnavailableError, match="no vmlinuz"):
            fetch.fetch(offer, str)
    else:
        assert fetch.fetch(offer, str).release == offer.release
    assert bool(asked) == again


def test_a_program_may_be_a_pattern_of_paths():
    """A library has the version of its interface in its name."""
    assert programs._have("/proc/*/status")
    assert not programs._have("/proc/*/nothing-of-this-name")


def test_a_variant_has_three_outcomes():
    assert supports("fentry", ALL) == YES
    assert supports("fentry", ALL | {"btf": NO}) == NO
    assert supports("fentry", ALL | {"btf": f"{UNKNOWN}: EIO"}) == UNKNOWN
    assert supports("fentry", {}) == UNKNOWN


WHY = "assert {'ring': 1} == {}\n  in one line"


def left_behind(folder, features, *tests):
    (folder / "features.json").write_text(json.dumps(features))
    lines = [{"test": f"test_x[{name}]", "outcome": how, "why": WHY} for name, how in tests]
    (folder / "results.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return results.decide(VARIANTS, KERNEL, folder)


def test_a_variant_that_passes_is_right_and_one_that_is_not_there_must_not_be(tmp_path):
    without = ALL | {"sock_send_length": NO}
    outcomes = left_behind(tmp_path, without, ("fentry", "passed"), ("tracepoint", "skipped"))
    assert (outcomes["fentry"].outcome, outcomes["fentry"].right) == (YES, True)
    assert (outcomes["tracepoint"].outcome, outcomes["tracepoint"].right) == (NO, True)


def test_a_failed_test_or_a_lost_feature_is_never_right(tmp_path):
    without = ALL | {"kprobe": NO}
    outcomes = left_behind(tmp_path, without, ("fentry", "passed"), ("fentry", "failed"))
    assert (outcomes["fentry"].outcome, outcomes["fentry"].right) == (NO, False)
    assert outcomes["fentry"].failed == {"test_x[fentry]": "assert {'ring': 1} == {} in one line"}
    assert (outcomes["kprobe"].outcome, outcomes["kprobe"].right) == (NO, False)


def test_a_guest_that_died_has_no_answer(tmp_path):
    outcomes = results.decide(VARIANTS, KERNEL, tmp_path)
    assert {one.outcome for one in outcomes.values()} == {UNKNOWN}
    assert not any(one.right for one in outcomes.values())


def test_the_table_takes_the_place_of_the_one_before():
    variants = {"fentry": {"outcome": YES, "failed": [], "passed": 12}}
    variants |= {"tracepoint": {"outcome": NO, "failed": [], "passed": 1}}
    kernel = {"series": "7.2", "suite": "sid", "version": "7.2.13-1", "date": "2026-01-31"}
    text = table([kernel | {"variants": variants}])
    row = "| 7.2 | 7.2.13-1 (sid) | passed (12 tests) | not run | not supported by this kernel |"
    assert row in text
    assert replaced(f"a\n{BEGIN}\nold\n{END}\nb", text) == f"a\n{BEGIN}\n{text}{END}\nb"


GUEST = """
echo x >> {boots}
[ $(wc -l < {boots}) -lt {starts_at} ] && exec sleep 60
echo 0 > {shared}/stage
echo 23 > {shared}/exit
"""


@pytest.mark.parametrize(("starts_at", "starts"), [(1, True), (2, True), (3, False)])
def test_a_guest_that_hangs_in_its_boot_is_started_once_more(
    tmp_path, monkeypatch, starts_at, starts
):
    monkeypatch.setattr(boot, "_BOOT_S", 0.5)
    boots, shared = tmp_path / "boots", tmp_path / "shared"
    script = GUEST.format(boots=boots, shared=shared, starts_at=starts_at)

    def run():
        return boot.run_in_guest(KERNEL, ["sh", "-c", script], shared, 60, lambda *_: None)

    if starts:
        assert run().exit_code == 23
    else:
        with pytest.raises(GuestError, match="did not boot"):
            run()
    assert len(boots.read_text().split()) == min(starts_at, 2)
