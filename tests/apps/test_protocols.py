"""The protocols of real programs, by the first bytes of their sockets."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pika
import pymongo
import pytest
from pika.exceptions import AMQPError
from place import Place
from pymongo.errors import PyMongoError
from support.require import require, require_tools

from xctl_probe.ebpf.payload import Payloads
from xctl_probe.errors import SourceUnavailable
from xctl_probe.protocols.names import Names, Sample

LIMIT_S = 30.0
TRIES = 5


class Named:
    """Sockets that were named since it was opened."""

    def __init__(self):
        self.payloads = Payloads()
        self.names = Names()

    def until(self, ask, wanted):
        """Ask again and again until so many sockets of each protocol have their name."""
        end = time.monotonic() + LIMIT_S
        while True:
            ask()
            for one in self.payloads.read():
                if isinstance(one, Sample):
                    self.names.note(one)
            if all(self.names.counts[app] >= count for app, count in wanted.items()):
                return
            assert time.monotonic() < end, self.names.counts
            time.sleep(0.1)


def until_without(other, ask, wanted):
    """The same, and no socket of another protocol.

    At one of some attempts: the sockets of the whole host are named, those of other tests too.
    """
    for _ in range(TRIES):
        found = Named()
        try:
            found.until(ask, wanted)
        finally:
            found.payloads.close()
        if not found.names.counts[other]:
            return
    pytest.fail(f"{found.names.counts}")


@pytest.fixture
def named():
    try:
        found = Named()
    except SourceUnavailable as reason:
        require(False, str(reason))
    yield found
    found.payloads.close()


def test_connections_from_before_the_probe(everything, named):
    """Both directions of a connection show what it is; that of ssh is encrypted by then."""

    def ask():
        everything.redis.asks.ask("PING", "PONG")
        everything.postgres.asks.ask("select 'seven';", "seven")
        everything.nginx.asks.ask("7", "answered 200")
        everything.dns.asks.ask("ask", "127.0.0.7")

    until_without("ssh", ask, {"redis": 2, "postgresql": 2, "http1": 2, "dns": 2})


def test_connections_from_their_first_bytes(everything, named):
    place = everything.place

    def connect():
        for words in (
            ("redis-cli", "-p", everything.redis.port, "PING"),
            ("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
             "-o", "UserKnownHostsFile=/dev/null", "-p", everything.openssh.port, "127.0.0.1"),
        ):  # fmt: skip
            place.start("a client", *words).process.wait(LIMIT_S)

    named.until(connect, {"redis": 2, "ssh": 2})


@pytest.fixture
def place():
    found = Place()
    yield found
    found.close()


NGINX = """
daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    ssl_certificate {folder}/certificate; ssl_certificate_key {folder}/key;
    server {{
        listen 127.0.0.1:{plain} http2;
        listen 127.0.0.1:{secret} ssl http2;
        return 200 "here\\n";
    }}
}}
"""


def test_http2_grpc_and_tls(place, named):
    """Nginx and curl; it is gRPC by the content type of a request, as curl compresses it."""
    require_tools("nginx", "curl", "openssl")
    folder, plain, secret = place.own("nginx"), place.port(), place.port()
    pair = ("-keyout", folder / "key", "-out", folder / "certificate")
    words = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lab.example", *pair)
    assert place.start("a certificate", "openssl", *words).process.wait(LIMIT_S) == 0
    config = place.folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, plain=plain, secret=secret))
    place.start("nginx: server", "nginx", "-e", "stderr", "-c", config)
    place.wait_listening(secret)

    def get(*words):
        place.start("curl", "curl", "-s", *words).expect("here")

    h2c = ("--http2-prior-knowledge", f"http://127.0.0.1:{plain}/")
    until_without("grpc", lambda: get(*h2c), {"http2": 2})
    named.until(lambda: get("-H", "content-type: application/grpc", *h2c), {"grpc": 1})
    to = f"lab.example:{secret}"
    named.until(
        lambda: get("-k", "--connect-to", f"{to}:127.0.0.1:{secret}", f"https://{to}/"), {"tls": 2}
    )


def test_kafka(place, named):
    """Clients of the mock cluster of librdkafka; the first has connected before the probe."""
    require_tools("kcat")
    mock = ("-b", "mock", "-X", "test.mock.num.brokers=1", "-d", "mock")
    cluster = place.start("kafka: cluster", "kcat", "-P", "-t", "none", *mock)
    broker = re.search(r"bootstrap\.servers=([\d.:]+)", cluster.expect("bootstrap.servers="))[1]
    consumer = place.start("kafka: consumer", "kcat", "-C", "-b", broker, "-t", "topic", "-u")

    def produce(line):
        producer = place.start("kafka: producer", "kcat", "-P", "-b", broker, "-t", "topic")
        producer.send(line)
        producer.process.stdin.close()
        producer.process.wait(LIMIT_S)

    produce("seven")
    consumer.expect("seven")
    named.payloads.close()
    later = Named()
    try:
        later.until(lambda: None, {"kafka": 2})  # it fetches again and again
        before = later.names.counts["kafka"]
        later.until(lambda: produce("eight"), {"kafka": before + 4})
    finally:
        later.payloads.close()
        for program in (consumer, cluster):  # SIGTERM leaves them waiting for their brokers
            program.process.kill()


def test_mqtt(place, named):
    """Mosquitto, a subscriber from before the probe that is served again, and new publishers."""
    require_tools("mosquitto", "mosquitto_pub", "mosquitto_sub")
    port = place.port()
    place.start("mqtt: broker", "mosquitto", "-p", port)
    place.wait_listening(port)
    subscriber = place.start("mqtt: subscriber", "mosquitto_sub", "-p", port, "-t", "news")

    def publish():
        words = ("mosquitto_pub", "-r", "-p", port, "-t", "news", "-m", "seven")
        place.start("mqtt: publisher", *words).process.wait(LIMIT_S)

    named.until(publish, {"mqtt": 4})
    subscriber.expect("seven")


def test_mysql(place, named):
    """MariaDB and its client: the greeting of the server comes first."""
    require_tools("mariadbd", "mariadb")
    port, folder = place.port(), place.own("mysql")
    server = (f"--datadir={folder}", f"--socket={folder}/socket", f"--port={port}")
    options = ("--bind-address=127.0.0.1", "--skip-grant-tables", "--innodb=off")
    defaults = "--default-storage-engine=MyISAM"
    place.start("mysql: server", "mariadbd", "--no-defaults", *server, *options, defaults)
    place.wait_listening(port)
    client = ("mariadb", "--no-defaults", "--protocol=tcp", "-h", "127.0.0.1", "-P", port)

    def ask():
        asks = place.start("mysql: client", *client, "-e", "select 'seven'")
        asks.expect("seven")

    named.until(ask, {"mysql": 2})


CLIENTS = {
    "amqp": lambda port: pika.BlockingConnection(
        pika.ConnectionParameters("127.0.0.1", port, socket_timeout=LIMIT_S)
    ),
    "mongodb": lambda port: pymongo.MongoClient(
        "127.0.0.1", port, serverSelectionTimeoutMS=1_000
    ).admin.command("ping"),
}


@pytest.mark.parametrize("app", CLIENTS)
def test_clients_whose_server_debian_does_not_have(app, named):
    """The first bytes are enough: nothing answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=hang_up_after_a_message, args=(listener,), daemon=True).start()

        def ask():
            with suppress(AMQPError, PyMongoError):
                CLIENTS[app](listener.getsockname()[1])

        named.until(ask, {app: 2})
        listener.shutdown(socket.SHUT_RDWR)


def hang_up_after_a_message(listener):
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            with client:
                client.recv(1 << 16)


TORCH = Path("/usr/lib/python3/dist-packages/torch")
RANK = """
import os, sys, torch, torch.distributed
os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=sys.argv[2], GLOO_SOCKET_IFNAME="lo")
torch.distributed.init_process_group("gloo", rank=int(sys.argv[1]), world_size=2)
torch.distributed.all_reduce(torch.ones(1_000))
print("reduced", flush=True)
sys.stdin.readline()
"""


def test_gloo(place, named):
    if not TORCH.exists():
        pytest.skip("NOT TESTED: python3-torch is not installed: make eval installs it")
    words = ("/usr/bin/python3", "-c", RANK)
    port = place.port()
    ranks = [place.start(f"rank {rank}", *words, rank, port) for rank in (0, 1)]
    for rank in ranks:
        rank.expect("reduced", LIMIT_S)
    named.until(lambda: None, {"gloo": 2})
