"""An HTTP client that asks again and again.  Arguments: name, address, port, kind.

Kinds: `blocking` (no time-out: it sleeps in recv), `polling` (a time-out: it sleeps in poll),
`loop` (asyncio), `fresh` (a connection for each request, with a time-out), `download` (24 MB each,
blocking), `loop-download` (asyncio).  A fifth argument `tls` makes it HTTPS.  Order:
`idle S` sends nothing for S seconds.
"""

import asyncio
import http.client
import random
import ssl
import sys
import time

from workload import Op, Orders, die_with_parent, emit, step

die_with_parent()
NAME, ADDRESS, PORT, KIND = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
PATH = "/stream" if "download" in KIND else "/work"
HEADERS = {"X-Client": NAME}
TLS = None
if "tls" in sys.argv[5:]:
    TLS = ssl.create_default_context()
    TLS.check_hostname, TLS.verify_mode = False, ssl.CERT_NONE
orders = Orders()


def pause():
    orders.idle()
    return random.uniform(0.02, 0.1)


def blocking():
    connection = None
    while True:
        time.sleep(pause())
        if connection is None or KIND == "fresh":
            timeout = None if KIND in ("blocking", "download") else 120
            connection = (
                http.client.HTTPSConnection(ADDRESS, PORT, timeout=timeout, context=TLS)
                if TLS
                else http.client.HTTPConnection(ADDRESS, PORT, timeout=timeout)
            )
        try:
            with Op():
                connection.request("GET", PATH, headers=HEADERS)
                response = connection.getresponse()
            while True:
                with Op():
                    data = response.read(65536)
                if not data:
                    break
                if PATH == "/stream":
                    step()
            step()
            if KIND == "fresh":
                connection.close()
        except (OSError, http.client.HTTPException):
            connection = None
            time.sleep(0.2)


async def loop():
    while True:
        try:
            reader, writer = await asyncio.open_connection(ADDRESS, PORT, ssl=TLS)
            while True:
                await asyncio.sleep(pause())
                with Op():
                    writer.write(
                        f"GET {PATH} HTTP/1.1\r\nHost: x\r\nX-Client: {NAME}\r\n\r\n".encode()
                    )
                    head = await reader.readuntil(b"\r\n\r\n")
                left = int(head.decode().split("Content-Length: ")[1].split("\r\n")[0])
                while left:
                    with Op():
                        data = await reader.read(min(left, 65536))
                    if not data:
                        raise OSError("broken off")
                    left -= len(data)
                    if PATH == "/stream":
                        step()
                step()
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.2)


emit(ready=True)
if KIND.startswith("loop"):
    asyncio.run(loop())
else:
    blocking()
