"""The kernel itself, before anything of ours runs on it: what it must have, it has."""

from __future__ import annotations

import platform

import pytest

from vm.expect import VARIANTS, expected
from vm.guest.features import NO, YES, detect, supports


@pytest.mark.parametrize("name", ["veth", "netem", "network_namespace", "ringbuf", "btf"])
def test_what_the_tests_stand_on_is_there(features: dict[str, str], name: str) -> None:
    assert features[name] == YES


def test_a_second_sample_finds_the_same(features: dict[str, str]) -> None:
    """The probes clean up after themselves."""
    assert detect() == features


def test_each_variant_has_its_features_since_its_series(features: dict[str, str]) -> None:
    series = ".".join(platform.release().split(".")[:2])
    arch = platform.release().rpartition("-")[2]
    found = {name: supports(name, features) for name in VARIANTS}
    assert found == {name: YES if expected(name, series, arch) else NO for name in VARIANTS}
