"""Jobs of processes, by cgroups made for the test and by their environment."""

from __future__ import annotations

import pytest
from support.cgroup import within
from support.conversation import ANSWER, connect, connected, transfer, unanswered

COUNT = 1_000_003
UID = "1f0e6a2c-7c5b-4f0e-9d5a-2b6d1c3e4f50"
CONTAINER = "c0ffee00" * 8
SLURM_2 = "system.slice/slurmstepd.scope/job_4711/step_0/user/task_0"
RANK = {"SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
ALL_BANDWIDTH = ("--min-bw", 0)


def states(pid, *values):
    return lambda consumer: [r.value for r in consumer.states(pid)] == [*values]


@pytest.mark.parametrize(
    ("version", "path", "job", "net"),
    [
        (2, SLURM_2, "4711", {}),
        (1, "slurm/uid_65534/job_4711/step_0/task_0", "4711", {}),
        (
            2,
            f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}"
            f".slice/cri-containerd-{CONTAINER}.scope",
            UID,
            {"pod_uid": UID, "container": CONTAINER},
        ),
        (1, f"kubepods/pod{UID}/{CONTAINER}", UID, {"pod_uid": UID, "container": CONTAINER}),
    ],
    ids=["slurm 2", "slurm 1", "systemd driver", "cgroupfs driver"],
)
def test_the_job_of_a_real_cgroup(probe, worker, version, path, job, net):
    """A process of it starts once, stalls and moves bytes as of the job, and exits."""
    with within(path, version) as put:
        running = probe(*ALL_BANDWIDTH)
        server, client = worker(), worker(env=RANK)
        put(client.pid)
        inode = connect(server, client)["inode"]
        unanswered(server, client)
        running.wait_for(states(client.pid, "start"))
        assert client.pid in running.consumer.processes_of(job)
        running.wait_for(lambda c: c.stalls(pid=client.pid))
        running.wait_for_intervals(2)
        server.ask("send", ANSWER)
        client.expect("ask")
        running.wait_for(lambda c: c.stalls(pid=client.pid, ongoing=False))
        transfer(client, server, COUNT)
        running.wait_for(lambda c: c.sent_bytes(client.pid) >= COUNT)
        client.close()
        running.wait_for(states(client.pid, "start", "exit"))
        consumer = running.stop()
    assert client.pid not in consumer.processes_of(job)
    net |= {"rank": 3, "local_rank": 1, "comm": "python3"}
    records = consumer.states(client.pid)
    origin = {key: records[0].net[key] for key in ("host", "boot_id")}
    assert [(r.job_id, r.net) for r in records] == [(job, net | origin)] * 2
    last = consumer.stalls(pid=client.pid, ongoing=False)
    for record in (*last, consumer.process_bandwidth(client.pid)[-1]):
        assert record.job_id == job
        assert {key: record.net.get(key) for key in net} == net
    assert {r.entity_id for r in last} == {f"socket-{inode}"}
    assert {r.job_id for r in consumer.records if r.pid in (server.pid, None)} == {None}


def test_the_job_of_an_environment(probe, worker):
    """Where there is no cgroup of a batch system; the peer is of no job."""
    running = probe(*ALL_BANDWIDTH)
    server, client, _ = connected(
        worker, env={"PBS_JOBID": "4711.head", "RANK": "5", "SECRET": "hunter2"}
    )
    transfer(client, server, COUNT)
    running.wait_for(states(client.pid, "start"))
    server.close()
    client.close()
    running.wait_for(states(client.pid, "start", "exit"))
    consumer = running.stop()
    assert {(r.job_id, r.net.get("rank")) for r in consumer.states(client.pid)} == {
        ("4711.head", 5)
    }
    assert consumer.states(server.pid) == []
    assert "hunter2" not in str(consumer.records)


def test_a_process_that_is_moved_into_a_job_starts(probe, worker):
    """As a session that a job adopts; its cgroup is read again after ten seconds of use."""
    with within(SLURM_2, 2) as put:
        running = probe(*ALL_BANDWIDTH)
        server, client, _ = connected(worker)
        transfer(client, server, COUNT)
        running.wait_for(lambda c: c.sent_bytes(client.pid) >= COUNT)
        running.wait_for_intervals(2)
        assert running.consumer.states(client.pid) == []
        put(client.pid)
        for _ in range(200):
            if running.consumer.states(client.pid):
                break
            transfer(client, server, COUNT)
            running.wait_for_intervals(1)
        running.wait_for(states(client.pid, "start"))
        consumer = running.stop()
    assert client.pid in consumer.processes_of("4711")


def test_without_process_state_the_job_is_in_the_other_records(probe, worker):
    running = probe(*ALL_BANDWIDTH, "--no-process-state")
    server, client, _ = connected(worker, env={"SLURM_JOB_ID": "4711"})

    def of_job(consumer):
        return [r for r in consumer.process_bandwidth(client.pid) if r.job_id == "4711"]

    for _ in range(50):
        transfer(client, server, COUNT)
        running.wait_for_intervals(1)
        if of_job(running.consumer):
            break
    client.close()
    running.wait_for_intervals(3)
    consumer = running.stop()
    assert of_job(consumer)
    assert consumer.states() == []
