"""A connection over TLS: in the host's name, from the first byte or by STARTTLS."""

import socket
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from actors.mail.errors import MailError
from actors.mail.imap import ImapMailbox
from actors.mail.wire import Server
from tests.actors.mail.hostile import Hostile, hostile, silent, until_uid

CAPABILITY = b"* CAPABILITY IMAP4rev1 STARTTLS\r\n"


@pytest.fixture(scope="module")
def contexts(tmp_path_factory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server at 127.0.0.1, and of a client that trusts it."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    made = builder.add_extension(here, critical=True).sign(key, hashes.SHA256())
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=file)


def over_tls(context: ssl.SSLContext, server: Hostile, plain: socket.socket) -> None:
    """Lets everybody in."""
    with context.wrap_socket(plain, server_side=True) as secure:
        until_uid(silent)(server, secure)


def test_a_mailbox_is_opened_over_tls(contexts) -> None:
    with hostile(lambda server, plain: over_tls(contexts[0], server, plain)) as server:
        at = Server("127.0.0.1", server.port, "tls", private_allowed=True, ssl_context=contexts[1])
        ImapMailbox(at, "dana", "hunter2").close()
        assert b"LOGIN" in server.heard


@pytest.mark.parametrize("in_clear", [b"", b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] injected\r\nX9 OK injected\r\n"])
def test_what_comes_in_clear_after_starttls_is_no_answer(contexts, in_clear: bytes) -> None:
    def upgrade(server, plain) -> None:
        server.say(plain, b"* OK ready\r\n")
        tag = plain.recv(4096).split()[0]
        server.say(plain, CAPABILITY + tag + b" OK done\r\n")
        tag = plain.recv(4096).split()[0]
        server.say(plain, tag + b" OK begin\r\n" + in_clear)
        over_tls(contexts[0], server, plain)

    with hostile(upgrade) as server:
        at = Server("127.0.0.1", server.port, "starttls", private_allowed=True, ssl_context=contexts[1])
        try:
            ImapMailbox(at, "dana", "hunter2").close()
        except MailError:
            assert in_clear  # the handshake may meet it
        assert b"AUTHENTICATE" not in server.heard


def test_a_server_that_is_not_trusted_learns_no_password(contexts) -> None:
    with hostile(lambda server, plain: over_tls(contexts[0], server, plain)) as server:
        with pytest.raises(MailError, match="certificate"):
            ImapMailbox(Server("127.0.0.1", server.port, "tls", private_allowed=True), "dana", "hunter2")
        assert server.heard == b""
