"""A client of PostgreSQL by psycopg2.  Arguments: name, address, port, kind.

Kinds: `query` (every 20 to 200 ms), `notify` (the same, and a NOTIFY every 2 to 8 s), `listen`
(waits for it in select).  Order: `idle S`.
"""

import random
import select
import sys
import time

import psycopg2
from workload import Op, Orders, die_with_parent, emit, step

die_with_parent()
NAME, ADDRESS, PORT, KIND = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
orders = Orders()


def work(connection):
    connection.autocommit = True
    cursor = connection.cursor()
    if KIND == "listen":
        cursor.execute("LISTEN events")
        while True:
            select.select([connection], [], [])
            connection.poll()
            connection.notifies.clear()
    due = time.monotonic() + random.uniform(2, 8)
    while True:
        orders.idle()
        time.sleep(random.uniform(0.02, 0.2))
        with Op():
            cursor.execute("SELECT count(*) FROM generate_series(1, 100)")
            cursor.fetchall()
        if KIND == "notify" and time.monotonic() > due:
            due = time.monotonic() + random.uniform(2, 8)
            cursor.execute("NOTIFY events, 'x'")
        step()


emit(ready=True)
while True:
    try:
        work(psycopg2.connect(host=ADDRESS, port=PORT, user="job", dbname="postgres"))
    except psycopg2.Error:
        time.sleep(0.2)
