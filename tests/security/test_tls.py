"""Klaviyo, PostgreSQL and Kafka are spoken to only if their certificate proves who they are."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from support.worker import Result
from support.world import KEY, World

HERE = "IP:127.0.0.1"
NOW, PAST = ("20200101000000Z", "20991231235959Z"), ("20200101000000Z", "20200201000000Z")
CONFIG = """\
[ca]
default_ca = it
[it]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
[authority]
basicConstraints = critical,CA:true
"""
LETTERS = str.maketrans("", "", " -")
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
SSL_REQUEST = struct.pack(">ii", 8, 80877103)
TROUBLE = {"wrong host", "expired", "self-signed", "missing intermediate", "of another authority"}


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


class Authority:
    """Signs certificates; each is a file with its private key, and what is sent along with it."""

    def __init__(self, folder: Path, name: str, signed_by: Authority | None = None) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        (self.folder / "index").touch()
        self._config = self.folder / "config"
        self._config.write_text(CONFIG.format(folder=self.folder))
        self._key = self.folder / "key.pem"
        self.certificate = self.folder / "certificate.pem"
        if signed_by:
            self._ask(name, self._key, "")
            signed_by.sign(self.folder / "request.pem", self.certificate, NOW, "-extensions", "authority")
        else:
            openssl("req", "-x509", *NEW_KEY, "-days", "2", "-subj", f"/CN={name}",
                    "-keyout", self._key, "-out", self.certificate)  # fmt: skip

    def _ask(self, name: str, key: Path, alternative: str) -> None:
        more = ["-addext", f"subjectAltName={alternative}"] if alternative else []
        openssl("req", "-new", *NEW_KEY, "-subj", f"/CN={name}", *more,
                "-keyout", key, "-out", self.folder / "request.pem")  # fmt: skip

    def sign(self, request: Path, out: Path, time: tuple[str, str], *more: str) -> None:
        openssl("ca", "-batch", "-notext", "-config", self._config, "-keyfile", self._key, "-cert", self.certificate,
                "-in", request, "-out", out, "-startdate", time[0], "-enddate", time[1], *more)  # fmt: skip

    def issue(self, name: str, alternative: str, time: tuple[str, str], chain: bool = True) -> Path:
        key, made = self.folder / f"{name}.key", self.folder / f"{name}.pem"
        self._ask(name, key, alternative)
        self.sign(self.folder / "request.pem", made, time)
        parts = [made, self.certificate, key] if chain else [made, key]
        made.write_text("".join(part.read_text() for part in parts))
        return made


class Certificates:
    """Of one root, whom the client trusts; by what is wrong with each."""

    def __init__(self, folder: Path) -> None:
        root = Authority(folder, "root")
        between = Authority(folder, "intermediate", root)
        self.root = root.certificate
        own = folder / "own.pem"
        openssl("req", "-x509", *NEW_KEY, "-days", "2", "-subj", "/CN=127.0.0.1",
                "-addext", f"subjectAltName={HERE}", "-keyout", own, "-out", own)  # fmt: skip
        self.files = {
            "": between.issue("good", HERE, NOW),
            "wrong host": between.issue("elsewhere", "DNS:elsewhere.example,IP:127.0.0.2", NOW),
            "expired": between.issue("expired", HERE, PAST),
            "self-signed": own,
            "missing intermediate": between.issue("alone", HERE, NOW, chain=False),
            "of another authority": Authority(folder, "other").issue("other", HERE, NOW),
        }


class Listener(threading.Thread):
    """Shows a certificate to whoever comes, and notes what it is told after that."""

    def __init__(self, certificate: Path, is_postgres: bool) -> None:
        super().__init__(daemon=True)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._is_postgres = is_postgres
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.callers = 0
        self.told = b""
        self.start()

    def run(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._socket.accept()
                self.callers += 1
                with suppress(OSError), caller:
                    self._serve(caller)

    def _serve(self, caller: socket.socket) -> None:
        caller.settimeout(10)
        if self._is_postgres:
            assert caller.recv(len(SSL_REQUEST), socket.MSG_WAITALL) == SSL_REQUEST
            caller.sendall(b"S")
        with self._context.wrap_socket(caller, server_side=True) as encrypted:
            self.told += encrypted.recv(4096)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def listen(certificates: Certificates) -> Iterator[Callable[[bool], dict[str, Listener]]]:
    with ExitStack() as stack:

        def start(is_postgres: bool) -> dict[str, Listener]:
            found = {}
            for trouble, file in certificates.files.items():
                found[trouble] = Listener(file, is_postgres)
                stack.callback(found[trouble].close)
            return found

        yield start


Ask = Callable[[str, Listener], Result]


def check_only_the_right_one_is_told(
    listeners: dict[str, Listener], ask: Ask, secret: str, why: str = "certificate"
) -> None:
    """All at once: a client of Kafka's tries again for some seconds."""
    with ThreadPoolExecutor(len(listeners)) as pool:
        results = dict(zip(listeners, pool.map(ask, listeners, listeners.values()), strict=True))

    assert listeners.keys() == TROUBLE | {""}
    assert secret.encode() in listeners[""].told, results[""]
    for trouble in TROUBLE:
        result, listener = results[trouble], listeners[trouble]
        assert listener.callers > 0 and listener.told == b"", f"{trouble}: was told {listener.told!r}"
        said = result.stderr.splitlines()[-1]  # the rest is what its libraries say to the log
        assert result.rc in (1, 75) and why in said, f"{trouble}: {result}"


def test_klaviyo_must_prove_who_it_is(
    world: World, certificates: Certificates, listen: Callable[[bool], dict[str, Listener]]
) -> None:
    def ask(trouble: str, listener: Listener) -> Result:
        return world.command(
            "connection", "add", "main", "--api-key-file", "-", "--agree-to-data-transfer",
            stdin=KEY + trouble.title().translate(LETTERS),  # each has its limits
            KLAVIYO_BASE_URL=f"https://127.0.0.1:{listener.port}", KLAVIYO_CA_FILE=str(certificates.root),
        )  # fmt: skip

    check_only_the_right_one_is_told(listen(False), ask, KEY)


def test_postgresql_must_prove_who_it_is(
    world: World, certificates: Certificates, listen: Callable[[bool], dict[str, Listener]]
) -> None:
    def ask(_: str, listener: Listener) -> Result:
        url = f"postgresql://planted_user@127.0.0.1:{listener.port}/x"
        url += f"?sslmode=verify-full&sslrootcert={certificates.root}"
        return world.command("runs", "list", DATABASE_URL=url)

    check_only_the_right_one_is_told(listen(True), ask, "planted_user")


def test_kafka_must_prove_who_it_is(
    world: World, certificates: Certificates, listen: Callable[[bool], dict[str, Listener]]
) -> None:
    properties = world.folder / "tls.properties"
    properties.write_text(f"security.protocol=SSL\nssl.ca.location={certificates.root}\n")
    properties.chmod(0o600)

    def ask(_: str, listener: Listener) -> Result:
        return world.command(
            "dead-letters", "list", KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{listener.port}", KAFKA_CONFIG_FILE=str(properties)
        )  # fmt: skip

    check_only_the_right_one_is_told(listen(False), ask, "klaviyo-worker", "Kafka did not answer")
