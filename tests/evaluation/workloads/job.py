"""The loop of a rank: own work, then a collective operation, again and again."""

import time

from workload import Op, Orders, compute, emit, now_ms, obey, step

PAUSES = ("epoch", "checkpoint", "evaluate")


def run(rank, work_s, kind, exchange):
    """Repeat own work of `work_s` (`kind`: sleep or compute) and `exchange`.

    Orders: those of `obey`, at the next step; `epoch S N`, `evaluate S N` (all ranks sleep or
    compute for S seconds before step N) and `checkpoint S N` (rank 0 alone sleeps).
    """
    orders, number, paused = Orders(), 0, {}
    while True:
        order = orders.take("compute", "sleep", "deadlock", "disk", *PAUSES)
        if order and order[0] in PAUSES:
            paused[int(order[2])] = order
        elif order:
            obey(order)
        if number in paused:
            _pause(rank, paused[number])
        (time.sleep if kind == "sleep" else compute)(work_s)
        with Op():
            exchange()
        number += 1
        step()
        if number % 5 == 0:
            emit(number=number)


def _pause(rank, order):
    name, seconds = order[0], float(order[1])
    emit(fault=name, at=now_ms())
    if name == "evaluate":
        compute(seconds)
    elif name == "epoch" or rank == 0:
        time.sleep(seconds)
    emit(healed=name, at=now_ms())
