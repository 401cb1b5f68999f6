"""Klaviyo behind a certificate that an authority of the site's has signed."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from support.world import KEY, World

ADD = ("connection", "add", "main", "--api-key-file", "-", "--agree-to-data-transfer")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"data": [{"type": "account", "id": "Plain1"}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Its own authority, with the private key in the same file."""
    made = tmp_path / "receiver.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(made), "-out", str(made)]
    subprocess.run(["openssl", *words.split(), *files], check=True, capture_output=True)
    return made


@pytest.fixture
def receiver(certificate: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("name", ["KLAVIYO_CA_FILE", "SSL_CERT_FILE"])
def test_an_authority_of_the_site_is_trusted_where_it_is_named(
    world: World, receiver: str, certificate: Path, name: str
) -> None:
    refused = world.command(*ADD, stdin=KEY, KLAVIYO_BASE_URL=receiver)
    assert refused.rc == 75
    assert "certificate" in refused.stderr

    added = world.command(*ADD, stdin=KEY, KLAVIYO_BASE_URL=receiver, **{name: str(certificate)})
    assert added.rc == 0, added.stderr


def test_an_authority_that_cannot_be_read_is_a_wrong_setting(world: World) -> None:
    result = world.command(*ADD, stdin=KEY, KLAVIYO_CA_FILE="/nowhere/authority.pem")
    assert result.rc == 2
    assert result.stderr.startswith("klaviyo-worker: KLAVIYO_CA_FILE names the file /nowhere/authority.pem, which")
