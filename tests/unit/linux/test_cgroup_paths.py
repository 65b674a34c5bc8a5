"""Each form of path that names a job, a pod or a container, and what has the form of one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xctl_probe.events import Placement
from xctl_probe.linux.cgroup_paths import placement

UID = "1f0e6a2c-7c5b-4f0e-9d5a-2b6d1c3e4f50"
SLICE_UID = UID.replace("-", "_")
STATIC_UID = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
CONTAINER, OUTER = "c0ffee00" * 8, "0badf00d" * 8
SLURM_2 = "0::/system.slice/slurmstepd.scope"
BURSTABLE = "/kubepods.slice/kubepods-burstable.slice"


@pytest.mark.parametrize(
    ("text", "job"),
    [
        # Slurm, cgroup version 2
        (f"{SLURM_2}/job_4711/step_0/user/task_3", "4711"),
        (f"{SLURM_2}/job_4711/step_batch/slurm", "4711"),
        (f"{SLURM_2}/job_4711/step_extern/user/task_special", "4711"),
        (f"{SLURM_2}/job_4711/step_interactive/user/task_0", "4711"),
        ("0::/system.slice/node7_slurmstepd.scope/job_4711/step_0", "4711"),
        ("0::/hpc.slice/slurmstepd.scope/job_4711/step_1/user/task_0", "4711"),  # CgroupSlice
        (f"{SLURM_2}/job_4711/step_0/user/task_3 (deleted)", "4711"),
        (f"{SLURM_2}/job_4711 (deleted)", "4711"),
        (f"{SLURM_2}/system", None),  # the daemon itself
        # from a private cgroup namespace
        ("0::/../../system.slice/slurmstepd.scope/job_4711/step_0/user/task_0", "4711"),
        # version 1
        ("4:memory:/slurm/uid_1009/job_4711/step_0/task_0", "4711"),
        ("9:cpuset:/slurm_node7/uid_1009/job_4711/step_batch/task_0", "4711"),
        ("12:pids:/\n6:freezer:/slurm/uid_0/job_4711/step_extern\n0::/init.scope", "4711"),
        # 26.05: an id that is not the number of the job
        (f"{SLURM_2}/s5K1KKYAYG5D00/step_0/user/task_0", None),
        ("4:memory:/slurm/uid_1009/s5K1KKYAYG5D00/step_0", None),
        # PBS and Torque
        ("4:cpuset:/pbs_jobs.service/jobid/4711.head", "4711.head"),
        ("0::/pbs_jobs.service/jobs/4711.head.example.org", "4711.head.example.org"),
        ("0::/pbs_jobs.service/jobs/4711[23].head", "4711[23].head"),
        ("4:memory:/pbs.service/jobid/4711.head", "4711.head"),
        ("0::/pbs.slice/pbs-4711.head\\x2da.slice", "4711.head-a"),
        ("3:cpuset:/torque/4711.head", "4711.head"),
        # LSF
        ("4:memory:/lsf/cluster1/job.4711.20113.1795702678", "4711"),
        ("4:memory:/lsf//job.4711.20113.1795702678", "4711"),
        ("0::/lsf/cluster1/job.4711[7].20113.1795702678", "4711[7]"),
        # nothing
        ("0::/system.slice/sshd.service", None),
        ("0::/user.slice/user-1009.slice/session-7.scope", None),
        ("0::/", None),
        ("", None),
        ("garbage\n::\n:::", None),
    ],
)
def test_the_job_of_a_batch_system(text, job):
    assert placement(text) == Placement(job)


@pytest.mark.parametrize(
    ("path", "uid", "container"),
    [
        (f"/kubepods/burstable/pod{UID}/{CONTAINER}", UID, CONTAINER),
        (f"/kubepods/pod{UID}/{CONTAINER}", UID, CONTAINER),
        (
            f"{BURSTABLE}/kubepods-burstable-pod{SLICE_UID}.slice/cri-containerd-{CONTAINER}.scope",
            UID,
            CONTAINER,
        ),
        (f"/kubepods.slice/kubepods-pod{SLICE_UID}.slice/crio-{CONTAINER}.scope", UID, CONTAINER),
        (
            f"/kubepods.slice/kubepods-pod{SLICE_UID}.slice/crio-{CONTAINER}.scope/container",
            UID,
            CONTAINER,
        ),
        (f"/kubepods.slice/kubepods-pod{SLICE_UID}.slice/docker-{CONTAINER}.scope", UID, CONTAINER),
        # kind: a node is a container itself
        (
            f"/system.slice/docker-{OUTER}.scope/kubelet.slice/kubelet-kubepods.slice/"
            f"kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{SLICE_UID}.slice/"
            f"cri-containerd-{CONTAINER}.scope",
            UID,
            CONTAINER,
        ),
        # the drivers of kubelet and containerd disagree
        (
            f"/system.slice/containerd.service/kubepods-burstable-pod{SLICE_UID}.slice:"
            f"cri-containerd:{CONTAINER}",
            UID,
            CONTAINER,
        ),
        (f"/kubepods.slice/kubepods-pod{STATIC_UID}.slice", STATIC_UID, None),
        (f"/kubepods/pod{UID}/crio-conmon-{CONTAINER}.scope", UID, None),
        # from the cgroup namespace of another pod
        (f"/../../kubepods-pod{SLICE_UID}.slice/cri-containerd-{CONTAINER}.scope", UID, CONTAINER),
        (f"/kubepods/podless/{CONTAINER}", None, CONTAINER),
        (f"/system.slice/pod{UID}", None, None),
    ],
)
def test_the_pod_is_the_job(path, uid, container):
    found = placement(f"0::{path}\n")
    assert (found.pod_uid, found.container) == (uid, container)
    assert found.job_id == uid


@pytest.mark.parametrize(
    ("path", "container"),
    [
        (f"/docker/{CONTAINER}", CONTAINER),
        (f"/system.slice/docker-{CONTAINER}.scope", CONTAINER),
        (f"/machine.slice/libpod-{CONTAINER}.scope", CONTAINER),
        (f"/machine.slice/libpod-{CONTAINER}.scope/container", CONTAINER),
        (f"/system.slice/x.service/libpod-payload-{CONTAINER}", CONTAINER),
        (f"/user.slice/user-1009.slice/user@1009.service/user.slice/libpod-{CONTAINER}.scope",
         CONTAINER),
        (f"/machine.slice/libpod-conmon-{CONTAINER}.scope", None),
        (f"/docker/{CONTAINER}ff", None),
        ("/lxc/box", None),
    ],
)  # fmt: skip
def test_a_container_without_a_pod_is_no_job(path, container):
    assert placement(f"0::{path}\n") == Placement(container=container)


def test_a_batch_job_in_a_pod_is_the_job():
    """The daemons of the batch system may run in pods themselves."""
    pod = f"0::/kubepods/pod{UID}/{CONTAINER}"
    found = placement(f"{pod}/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0")
    assert (found.job_id, found.pod_uid, found.container) == ("4711", UID, CONTAINER)
    found = placement(f"{pod}/system.slice/slurmstepd.scope/s5K1KKYAYG5D00/step_0/user/task_0")
    assert (found.job_id, found.pod_uid) == (None, UID)


@pytest.mark.parametrize(
    "path",
    [
        "/system.slice/slurmstepd.scope/job_",
        "/system.slice/slurmstepd.scope/job_47x",
        "/system.slice/slurmstepd.scope/job_4711x",
        "/system.slice/slurmstepd.scope/job_\u0664\u0667",  # digits, but not of ASCII
        f"/system.slice/slurmstepd.scope/job_{'7' * 21}",
        "/slurm/job_4711",
        "/pbs_jobs.service/jobid/4711",
        "/pbs_jobs.service/jobid/4711.\x1b[31m",
        f"/pbs_jobs.service/jobid/4711.{'a' * 101}",
        "/pbs_jobs.service/jobid/4711.\\x0a",
        "/pbs.slice/pbs-4711.a\\x1b.slice",
        "/lsf/cluster1/job.",
        "/lsf/cluster1/job.a.1",
        "/lsf/a/b/job.4711",
    ],
)
def test_what_only_resembles_a_job_is_none(path):
    assert placement(f"0::{path}\n").job_id is None


def test_a_job_cannot_name_another_below_its_own():
    """A user may make cgroups below that of the job."""
    below = f"{SLURM_2}/job_4711/step_0/user/task_0/system.slice/slurmstepd.scope/job_23/step_0"
    assert placement(below).job_id == "4711"


@given(st.text(max_size=4096) | st.text("/:._-{}job_pod0123456789abcdefslurm\n", max_size=4096))
def test_any_text_gives_short_and_printable_values(text):
    found = placement(text)
    for value in (found.job_id, found.pod_uid, found.container):
        assert value is None or (len(value) <= 150 and value.isascii() and value.isprintable())
