"""A Dovecot of the test's own: an unprivileged process on 127.0.0.1 and 127.0.0.2, with a certificate for the first.

It is Debian's dovecot-imapd 2.3; .ci/run installs it where it may.
"""

import grp
import imaplib
import ipaddress
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.local.embedded import free_port
from service.local.processes import stop_process, wait_until

NOBODY = "nobody"
USER, PASSWORD = "dana@nightowl.example", "not-a-secret"

CONFIG = """
protocols = imap
listen = 127.0.0.1, 127.0.0.2
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
default_login_user = {user}
default_internal_user = {user}
default_internal_group = {group}
first_valid_uid = 1
first_valid_gid = 0
mail_location = maildir:{folder}/mail/%u
disable_plaintext_auth = no
ssl = yes
ssl_cert = <{folder}/server.crt
ssl_key = <{folder}/server.key
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/home/%u
}}
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {plain}
  }}
  inet_listener imaps {{
    port = {secure}
    ssl = yes
  }}
}}
service stats {{
  chroot =
}}
"""


@dataclass
class Dovecot:
    folder: Path
    plain: int  # with STARTTLS
    secure: int

    @property
    def authority(self) -> str:
        """The file that makes a client trust it."""
        return str(self.folder / "ca.crt")

    def client(self) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.plain, timeout=20)
        client.login(USER, PASSWORD)
        return client


def require_dovecot() -> str:
    """Its path, or the test is skipped."""
    path = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        # It comes with no wheel, so only machines with Debian's package can run it.
        pytest.skip("Dovecot is not installed; on Debian: apt-get install dovecot-imapd")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    if not version.startswith("2.3."):
        # Dovecot 2.4 renamed most settings; the configuration below is for 2.3.
        pytest.skip(f"Found Dovecot {version.split()[0]}, expected 2.3: the configuration of others is another")
    return path


@contextmanager
def dovecot() -> Iterator[Dovecot]:
    path = require_dovecot()
    account = pwd.getpwnam(NOBODY) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    with tempfile.TemporaryDirectory(prefix="dovecot-") as name:
        folder = Path(name)
        server = Dovecot(folder, free_port(), free_port())
        certify(folder)
        (folder / "users").write_text(f"{USER}:{PASSWORD}\n")
        names = {
            "user": account.pw_name,
            "group": grp.getgrgid(account.pw_gid).gr_name,
            "uid": account.pw_uid,
            "gid": account.pw_gid,
        }
        config = CONFIG.format(folder=folder, plain=server.plain, secure=server.secure, **names)
        (folder / "dovecot.conf").write_text(config)
        for one in (folder, *folder.iterdir()):
            os.chown(one, account.pw_uid, account.pw_gid)
        who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        command = [path, "-F", "-c", str(folder / "dovecot.conf")]
        process = subprocess.Popen(command, stdout=-3, stderr=-3, start_new_session=True, **who)
        try:
            wait_until(lambda: answers(server), 30, "Dovecot")
            yield server
        finally:
            stop_process(process, 5)


def answers(server: Dovecot) -> bool:
    try:
        server.client().logout()
    except (OSError, imaplib.IMAP4.error):
        return False
    return True


def certify(folder: Path) -> None:
    """An authority, and a certificate for 127.0.0.1."""
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server")}
    names = {name: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {name}")]) for name in keys}
    now = datetime.now(UTC)
    for name, key in keys.items():
        is_ca = name == "ca"
        certificate = (
            x509.CertificateBuilder()
            .subject_name(names[name])
            .issuer_name(names["ca"])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys["ca"].public_key()), False)
            .add_extension(usage(is_ca), critical=True)
            .sign(keys["ca"], hashes.SHA256())
        )
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{name}.key").write_bytes(private)


def usage(is_ca: bool) -> x509.KeyUsage:
    names = (
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(
        digital_signature=not is_ca, key_cert_sign=is_ca, crl_sign=is_ca, **dict.fromkeys(names, False)
    )
