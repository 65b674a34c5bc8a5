"""Placement of processes, from a /proc of files and a helper that answers as the test has it."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_helper import FakeHelper

from xctl_probe.events import Placement, Process
from xctl_probe.linux import jobs as module
from xctl_probe.linux.helper import Helper
from xctl_probe.linux.jobs import Claim, Jobs, claim, pod_name

SECOND_NS = 1_000_000_000
UID = "1f0e6a2c-7c5b-4f0e-9d5a-2b6d1c3e4f50"
POD_CGROUP = f"0::/kubepods/pod{UID}/{'c0ffee00' * 8}\n"
SLURM = "0::/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0\n"
SLUID = "0::/system.slice/slurmstepd.scope/s5K1KKYAYG5D00/step_0/user/task_0\n"
NO_JOB = "0::/user.slice\n"


def environ(**values):
    return b"".join(f"{key}={value}\0".encode() for key, value in values.items())


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, Claim()),
        ({"SLURM_JOB_ID": "4711"}, Claim("4711")),
        ({"PBS_JOBID": "4711[7].head.example.org"}, Claim("4711[7].head.example.org")),
        ({"LSB_JOBID": "4711"}, Claim("4711")),
        ({"LSB_JOBID": "4711", "LSB_JOBINDEX": "0"}, Claim("4711")),
        ({"LSB_JOBID": "4711", "LSB_JOBINDEX": "5"}, Claim("4711[5]")),  # as its cgroup has it
        ({"LSB_JOBID": "4711[5]", "LSB_JOBINDEX": "5"}, Claim("4711[5]")),
        ({"LSB_JOBID": "4711", "LSB_JOBINDEX": "5]"}, Claim("4711")),
        ({"LSB_JOBINDEX": "5"}, Claim()),
        ({"SLURM_JOB_ID": "4711", "LSB_JOBINDEX": "5"}, Claim("4711")),
        ({"SLURM_JOB_ID": "4711", "LSB_JOBID": "23"}, Claim("4711")),
        ({"RANK": "3", "LOCAL_RANK": "1"}, Claim(rank=3, local_rank=1)),
        ({"SLURM_PROCID": "3", "SLURM_LOCALID": "1"}, Claim(rank=3, local_rank=1)),
        (
            {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1"},
            Claim(rank=3, local_rank=1),
        ),
        ({"PMI_RANK": "3", "MPI_LOCALRANKID": "1"}, Claim(rank=3, local_rank=1)),
        # srun with PMIx gives one rank by two names, the local one by one of them
        (
            {"PMIX_RANK": "3", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"},
            Claim(rank=3, local_rank=1),
        ),
        # srun started torchrun, or the daemon of mpirun, once on each host
        (
            {"SLURM_PROCID": "1", "SLURM_LOCALID": "0", "RANK": "11", "LOCAL_RANK": "3"},
            Claim(rank=11, local_rank=3),
        ),
        (
            {"SLURM_PROCID": "1", "SLURM_LOCALID": "0", "OMPI_COMM_WORLD_RANK": "11"},
            Claim(rank=11),
        ),
        ({"LOCAL_RANK": "1"}, Claim()),
        ({"MY_RANK": "3", "RANKS": "4", "XSLURM_JOB_ID": "7"}, Claim()),
        ({"A": "RANK=3"}, Claim()),
    ],
)  # fmt: skip
def test_known_keys_of_an_environment(values, found):
    assert claim(environ(SECRET="hunter2", **values)) == found


@pytest.mark.parametrize(
    "value",
    ["", "abc", "-1", "4711 ", " 4711", "4711\n", "4711;x", "4711.\x1b[31m", "7" * 21, "link_down",
     "4711." + "a" * 101, "\u0664\u0667"],
)  # fmt: skip
def test_a_value_of_another_form_counts_as_absent(value):
    assert claim(environ(SLURM_JOB_ID=value, RANK=value)) == Claim()


def test_an_environment_that_is_cut_short_or_overwritten_is_harmless():
    """A program may write its title over it."""
    assert claim(b"SLURM_JOB_ID=4711") == Claim("4711")
    assert claim(b"SLURM_JOB_ID") == Claim()
    assert claim(b"nginx: worker process\0\0\0\0") == Claim()
    assert claim(b"SLURM_JOB_ID=4711\0SLURM_JOB_ID=23\0") == Claim("4711")  # as getenv has it


@given(st.binary(max_size=4096))
def test_any_bytes_give_short_and_printable_values(raw):
    for found in (claim(raw), claim(b"SLURM_JOB_ID=" + raw)):
        assert found.job_id is None or (len(found.job_id) <= 150 and found.job_id.isprintable())


def test_the_name_of_a_pod_is_that_of_the_folder_of_its_logs(tmp_path):
    (tmp_path / f"kube-system_coredns-7f.9_{UID}").mkdir()
    assert pod_name(UID, tmp_path) == ("kube-system", "coredns-7f.9")
    assert pod_name(UID[:-1] + "1", tmp_path) is None
    assert pod_name(UID, tmp_path / "absent") is None


@pytest.mark.parametrize("name", [f"\x1b[31m_x_{UID}", f"a_b_c_{UID}", f"x_{UID}", f"A_b_{UID}"])
def test_a_folder_of_another_form_names_no_pod(tmp_path, name):
    (tmp_path / name).mkdir()
    assert pod_name(UID, tmp_path) is None


def answer(*claimed, pod=None):
    return module._Answer(Claim(*claimed), pod, 7)


class Host:
    """A /proc of files, in which time is what the test makes it."""

    def __init__(self, path, helper):
        self.path, self.helper = path, helper
        self.jobs = Jobs(proc=path, logs=path / "logs", helper=helper)
        self.now_ns = SECOND_NS

    def process(self, pid, cgroup, start=7_001, comm="train", uid=1_009):
        folder = self.path / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / "cgroup").write_text(cgroup)
        (folder / "status").write_text(f"Name:\t{comm}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        (folder / "stat").write_text(f"{pid} ({comm}) S {'0 ' * 18}{start} 0\n")
        return Process(pid, start, comm)

    def find(self, *processes, after_ns=SECOND_NS):
        self.now_ns += after_ns
        return self.jobs.find(set(processes), self.now_ns)


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path, FakeHelper(answer()))


def test_the_job_of_the_path_and_the_rank_of_the_environment(host):
    one = host.process(233, SLURM)
    host.helper.answer = answer("23", 3, 1)  # the path decides
    assert host.find(one) == [one]
    assert host.jobs.placement(one) == Placement("4711", rank=3, local_rank=1)
    assert host.jobs.placement(None) is None


@pytest.mark.parametrize("cgroup", [NO_JOB, SLUID])
def test_the_job_of_the_environment_where_the_path_names_none(host, cgroup):
    one = host.process(233, cgroup)
    host.helper.answer = answer("4711", 3, 1)
    host.find(one)
    assert host.jobs.placement(one) == Placement("4711", rank=3, local_rank=1)


def test_a_rank_without_a_job_is_none(host):
    """RANK may mean anything."""
    one = host.process(233, NO_JOB)
    host.helper.answer = answer(None, 3, 1)
    assert host.find(one) == [one]
    assert host.jobs.placement(one) is None


def test_a_pod_has_its_name(host):
    one = host.process(233, POD_CGROUP)
    host.helper.answer = answer(None, 3, pod=("default", "train-0"))
    host.find(one)
    assert host.helper.asked[0].pod_uid == UID
    assert host.jobs.placement(one) == Placement(
        UID, UID, "train-0", "default", "c0ffee00" * 8, rank=3
    )


def test_a_process_is_read_once(host):
    one = host.process(233, SLURM)
    assert host.find(one) == [one]
    for _ in range(5):
        assert host.find(one) == []
    assert len(host.helper.asked) == 1


def test_until_the_environment_is_read_the_path_counts_and_nothing_is_reported_changed(host):
    host.helper.answer = None
    one = host.process(233, SLURM)
    assert host.find(one) == []
    assert host.jobs.placement(one) == Placement("4711")
    host.helper.comes(answer(None, 3))
    assert host.find() == [one]  # although it is not in use any more
    assert host.jobs.placement(one).rank == 3


def test_an_answer_that_comes_later_counts(host):
    host.helper.answer = None
    one = host.process(233, SLURM)
    host.find(one)
    host.helper.comes(answer(None, 3))
    assert host.find() == [one]
    assert host.jobs.placement(one).rank == 3
    assert host.helper.late == []


def test_where_no_answer_comes_the_path_has_to_do(host):
    host.helper.answer = None
    one = host.process(233, SLURM)
    for _ in range(11):
        assert host.find(one, after_ns=SECOND_NS) == []
    assert host.find(one) == [one]
    assert host.jobs.placement(one) == Placement("4711")


def test_one_that_holds_the_helper_up_keeps_it_from_no_other(host):
    """The helper serves one after the other; it answers all once it gets a processor."""
    host.helper.answer = None
    two = [host.process(pid, SLURM) for pid in (233, 239)]
    host.find(*two)
    assert len(host.helper.asked) == 2
    host.jobs._bar(host.helper.asked[0])  # by the user
    assert set(host.find(*two)) == set(two)
    other = host.process(241, SLURM, uid=1_013)
    host.helper.answer = answer(None, 5)
    assert host.find(other) == [other]
    assert host.jobs.placement(other).rank == 5


def test_a_process_that_is_gone_has_no_placement(host):
    gone = Process(233, 7_001, "train")
    assert host.find(gone) == []
    assert host.helper.asked == []
    assert host.jobs.placement(gone) is None


def test_a_pid_that_is_used_again_is_another_process(host):
    """Its cgroup is not that of the former one."""
    host.process(233, SLURM, start=7_003)
    former = Process(233, 7_001, "train")
    host.find(former)
    assert host.jobs.placement(former) is None
    later = Process(233, 7_003, "train")
    host.find(later)
    assert host.jobs.placement(later).job_id == "4711"


def test_another_cgroup_is_noticed(host):
    """A session may be adopted into a job after it has begun."""
    one = host.process(233, NO_JOB)
    host.find(one)
    host.process(233, SLURM)
    assert host.find(one) == []  # read a second ago
    assert host.find(one, after_ns=10 * SECOND_NS) == [one]
    assert host.jobs.placement(one).job_id == "4711"


def test_another_program_has_another_environment(host):
    one = host.process(233, NO_JOB)
    host.helper.answer = answer("23", 2)
    host.find(one)
    host.process(233, NO_JOB, comm="other")
    host.helper.answer = answer("4711", 3)
    assert host.find(one, after_ns=10 * SECOND_NS) == [one]
    assert host.jobs.placement(one) == Placement("4711", rank=3)


def test_a_process_that_is_read_again_and_gone_keeps_its_job(host):
    """Its last records are still to come."""
    one = host.process(233, SLURM)
    host.find(one)
    (host.path / "233/stat").unlink()
    (host.path / "233/cgroup").unlink()
    host.find(one, after_ns=10 * SECOND_NS)
    assert host.jobs.placement(one).job_id == "4711"


def test_the_processes_that_are_kept_are_bounded(host, monkeypatch):
    monkeypatch.setattr(module, "_MOST_KEPT", 3)
    host.helper.answer = None
    many = [host.process(pid, SLURM) for pid in range(233, 240)]
    for one in many:
        host.find(one)
    assert [host.jobs.placement(one) is not None for one in many] == [False] * 4 + [True] * 3
    host.find()


def test_the_reads_of_one_user_are_bounded(host):
    one = host.process(233, SLURM)
    host.jobs._budget.charge(1_009, SECOND_NS, host.now_ns)
    assert host.find(one) == []
    assert host.jobs.placement(one) is None
    other = host.process(239, SLURM, uid=1_013)
    assert host.find(other) == [other]
    assert host.find(one, after_ns=100 * SECOND_NS) == [one]


def test_the_helper_exits_where_it_has_nothing_to_do(host):
    host.find(host.process(233, SLURM))
    host.find(after_ns=4 * SECOND_NS)
    assert host.helper.closed == 0
    for _ in range(3):
        host.find(after_ns=4 * SECOND_NS)
    assert host.helper.closed == 1


def test_only_known_values_leave_the_helper(tmp_path):
    """The rest of an environment has passwords in it."""
    host = Host(tmp_path, FakeHelper())
    host.process(233, POD_CGROUP)
    (tmp_path / "233/environ").write_bytes(environ(SECRET="hunter2", SLURM_JOB_ID="4711", RANK="3"))
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / f"default_train-0_{UID}").mkdir()
    read = module._Reader(tmp_path, tmp_path / "logs")
    found = read(module._Request(233, 7_001, 1_009, UID))
    assert found[:2] == (Claim("4711", 3), ("default", "train-0"))
    assert read(module._Request(233, 7_003, 1_009, None)).claim == Claim()  # another process
    assert read(module._Request(239, 7_001, 1_009, None)).claim == Claim()  # none


def test_a_real_environment_is_read_by_a_real_helper(tmp_path):
    """That of this process, as it was when it began."""
    host = Host(tmp_path, Helper(module._Reader(tmp_path, tmp_path), lambda _: None))
    one = host.process(os.getpid(), NO_JOB)
    (tmp_path / str(os.getpid()) / "environ").write_bytes(environ(SLURM_JOB_ID="4711", RANK="3"))
    until = time.monotonic() + 60
    while not host.find(one, after_ns=1_000):  # a busy host answers late, not never
        assert time.monotonic() < until
    assert host.jobs.placement(one) == Placement("4711", rank=3)
    host.jobs.close()
    host.jobs.close()
