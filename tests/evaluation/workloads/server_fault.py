"""The orders of a server, and how its handlers obey them."""

import threading
import time

from workload import Orders, compute, deadlock, disk, emit, now_ms

SLOW_S = 0.3
KEEPING = {"compute": compute, "sleep": time.sleep, "deadlock": deadlock, "disk": disk}


class Fault:
    """The order that is on, as handlers find it.

    compute, sleep, deadlock and disk keep every handler from its work; `lose S NAME` holds one
    request of the client NAME; `break S` stops all streams in mid-body; `slow S` takes 0.3 s for
    each reply.
    """

    def __init__(self):
        self.name, self.until, self.client = None, 0.0, None

    def start(self, block=None):
        """Obey from now on; `block` obeys the keeping orders instead, where given."""
        threading.Thread(target=self._manage, args=(Orders(), block), daemon=True).start()

    def left(self, *names):
        """Seconds that an order of these names lasts from now on."""
        return max(0.0, self.until - time.monotonic()) if self.name in names else 0.0

    def loses(self, client):
        """Whether to lose this request: one of the client that the order names."""
        if self.name == "lose" and client == self.client:
            self.client = None
            return True
        return False

    def hold(self, client=None):
        """What a handler in a thread of its own does before it replies."""
        for name, keep in KEEPING.items():
            if self.left(name):
                keep(self.left(name))
        if client is not None and self.loses(client):
            threading.Event().wait(self.left("lose"))
        if client is not None and self.left("slow"):
            time.sleep(SLOW_S)

    def _manage(self, orders, block):
        while True:
            order = orders.take(*KEEPING, "lose", "break", "slow")
            if order is None:
                time.sleep(0.01)
            elif block is not None and order[0] in KEEPING:
                block(order)
            else:
                seconds = float(order[1])
                self.until = time.monotonic() + seconds
                self.client = order[2] if len(order) > 2 else None
                self.name = order[0]
                emit(fault=order[0], at=now_ms())
                time.sleep(seconds)
                self.name = None
                emit(healed=order[0], at=now_ms())
