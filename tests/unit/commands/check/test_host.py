"""What is read of a host: from a /proc and a /sys made of files."""

from __future__ import annotations

import pytest
from support.rdma_tree import Tree

from xctl_probe.commands.check import host as module
from xctl_probe.commands.check.host import read_host

ALL = f"{(1 << 41) - 1:016x}"


@pytest.fixture
def host(tmp_path, monkeypatch):
    """Read a host with these files; `privileged` is what the loader's own rule decides."""

    def read(*, privileged=True, **files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(module, "missing", lambda _: None if privileged else "not permitted")
        return read_host(tmp_path)

    return read


def effects(host):
    return {c.name: c.effect for c in host.conditions}


def test_a_bare_host_is_no_error(host):
    """Everything is missing, and printed as missing."""
    found = host()
    assert found.lockdown is None
    assert not found.seccomp
    assert not found.container
    assert effects(found)["kernel headers"] == "bcc cannot compile"


def test_capabilities_and_seccomp_are_read_from_the_status(host):
    """The effective ones."""
    found = host(proc__self__status=f"CapEff:\t{ALL}\nSeccomp:\t2\n")
    values = {c.name: c.value for c in found.conditions}
    assert values["capabilities"] == "CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF"
    assert found.seccomp
    assert not found.user_namespace


def test_capabilities_that_are_worth_nothing_are_a_user_namespaces(host):
    """There they are all held."""
    assert host(privileged=False, proc__self__status=f"CapEff:\t{ALL}\n").user_namespace
    assert not host(privileged=False, proc__self__status="CapEff:\t0\n").user_namespace


def test_what_stands_in_the_way_is_shown_with_its_effect(host):
    """Only where it does."""
    found = host(
        privileged=False,
        proc__self__status="CapEff:\t0000000000000000\n",
        proc__sys__kernel__perf_event_paranoid="3\n",
        proc__sys__kernel__kptr_restrict="1\n",
        proc__sys__kernel__unprivileged_bpf_disabled="2\n",
    )
    for name in ("capabilities", "kernel.perf_event_paranoid", "kernel.kptr_restrict"):
        assert effects(found)[name], name
    (tmp,) = {c.value for c in found.conditions if c.name == "kernel.unprivileged_bpf_disabled"}
    assert tmp == "2"


def test_lockdown_is_the_word_in_brackets(host):
    """Only the stricter one refuses what the programs read."""
    assert host(sys__kernel__security__lockdown="none [integrity] confidentiality\n").lockdown == (
        "integrity"
    )
    found = host(sys__kernel__security__lockdown="none integrity [confidentiality]\n")
    assert effects(found)["lockdown"] == "reading kernel memory is refused"


@pytest.mark.parametrize("mark", [".dockerenv", "run__.containerenv"])
def test_a_container_is_reported_by_its_marks(host, mark):
    """Those of docker and podman."""
    assert host(**{mark: ""}).container


def test_host_without_rdma_has_no_row_of_it(host):
    found = host()
    assert found.roce == ()
    assert [c.name for c in found.conditions if "RDMA" in c.name] == []


def test_rdma_ports_name_the_interfaces_that_leave_them_out(host, tmp_path):
    """Packets of software devices pass the network stack; InfiniBand has no interface."""
    tree = Tree(tmp_path / "sys/class/infiniband")
    tree.add("mlx5_0", netdev="eth3")
    tree.add("mlx5_1", layer="InfiniBand", netdev=None)
    tree.add("rxe0", "rdma_rxe", netdev="eth4")
    tree.add("rxe1", "rdma_rxe 7.2", netdev="eth6")
    tree.add("restricted", netdev="eth5")
    for name in ("port_rcv_data", "port_xmit_data"):
        tree.set("restricted", **{name: "N/A (no PMA)"})
    found = host()
    assert {name: effect for name, effect in effects(found).items() if "RDMA" in name} == {
        "RDMA port mlx5_0": "the counters of eth3 leave its traffic out",
        "RDMA port mlx5_1": "",
        "RDMA port rxe0": "its bytes are those of eth4",
        "RDMA port rxe1": "its bytes are also in the counters of eth6",
        "RDMA port restricted": "its byte counters cannot be read",
    }
    values = {c.name: c.value for c in found.conditions}
    assert values["RDMA port mlx5_0"] == "Ethernet, 100 Gb/sec (4X EDR), ACTIVE, eth3"
    assert found.roce == (
        ("eth3", "mlx5_0 has a record of its own"),
        ("eth5", "the byte counters of restricted cannot be read"),
    )


def test_the_directory_for_status_is_named_with_why_there_is_none(host, tmp_path, monkeypatch):
    """Nothing is made."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    (found,) = [c for c in host().conditions if c.name == "directory for status"]
    assert (found.value, found.effect) == (str(tmp_path / "run"), "")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").write_text("")
    (found,) = [c for c in host().conditions if c.name == "directory for status"]
    assert found.effect == "not a directory, or a symbolic link"
