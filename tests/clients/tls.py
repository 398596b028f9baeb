#!/usr/bin/env python3
"""What the server does in a TLS handshake: hellos written by hand (RFC 8446), Python's own client, and the scanner sslscan.

Debian's OpenSSL does not know X25519MLKEM768, so the hellos that offer it are made here: a server's choice shows in its first message.
"""
import os
import socket
import ssl
import struct
import subprocess
import xml.etree.ElementTree as tree
from urllib.parse import urlsplit

from checks import URL, check, run

ADDRESS = urlsplit(URL)
SECONDS = 20
X25519, HYBRID, SECP256R1 = 0x001D, 0x11EC, 0x0017
TLS12, TLS13 = 0x0303, 0x0304
AES_128_GCM, AES_256_GCM, CHACHA20 = 0x1301, 0x1302, 0x1303
# RFC 8446, section 4.1.3: the random of a ServerHello that is a HelloRetryRequest.
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
ALERT, HANDSHAKE = 21, 22
UNEXPECTED_MESSAGE, HANDSHAKE_FAILURE, ILLEGAL_PARAMETER, DECODE_ERROR, PROTOCOL_VERSION = 10, 40, 47, 50, 70
# A base point, and an ML-KEM-768 encapsulation key with every coefficient 0: both are well-formed, and nobody will use what they agree on.
SHARES = {X25519: bytes([9]) + bytes(31), HYBRID: bytes(1184) + bytes([9]) + bytes(31)}


def sized(data, width=2):
    return len(data).to_bytes(width, "big") + data


def words(*values):
    return b"".join(struct.pack(">H", value) for value in values)


def hello(groups=(HYBRID, X25519), shares=(X25519,), versions=(TLS13,), compression=b"\0", alpn=(b"http/1.1",), suites=(AES_128_GCM, AES_256_GCM)):
    """A record with a ClientHello."""
    extensions = {
        0: sized(b"\0" + sized(b"localhost")),
        10: sized(words(*groups)),
        # ecdsa_secp256r1_sha256 and its like, ed25519, rsa_pss_rsae_sha256.
        13: sized(words(0x0403, 0x0503, 0x0807, 0x0804)),
        16: sized(b"".join(sized(name, 1) for name in alpn)),
        43: sized(words(*versions), 1),
        51: sized(b"".join(words(group) + sized(SHARES[group]) for group in shares)),
    }
    if TLS13 not in versions:
        del extensions[43], extensions[51]
    packed = b"".join(words(kind) + sized(data) for kind, data in extensions.items())
    body = words(TLS12) + os.urandom(32) + sized(os.urandom(32), 1) + sized(words(*suites)) + sized(compression, 1) + sized(packed)
    return record(HANDSHAKE, b"\1" + sized(body, 3))


def record(kind, data):
    return bytes([kind]) + words(0x0301) + sized(data)


def connect():
    return socket.create_connection((ADDRESS.hostname, ADDRESS.port), timeout=SECONDS)


def first_record(sent):
    """Type and content of the first record that answers; none if the server closes without one."""
    with connect() as line:
        line.sendall(sent)
        reader = line.makefile("rb")
        try:
            head = reader.read(5)
            return (head[0], reader.read(int.from_bytes(head[3:5], "big"))) if len(head) == 5 else None
        except ConnectionResetError:
            return None


def chosen(sent):
    """The group, the suite, and whether the hello must be sent again with a share of that group."""
    kind, data = first_record(sent)
    assert kind == HANDSHAKE and data[0] == 2, (kind, data[:8])
    random, after = data[6:38], 39 + data[38]
    suite = int.from_bytes(data[after : after + 2], "big")
    at, group = after + 5, None
    while at < 4 + int.from_bytes(data[1:4], "big"):
        extension, length = struct.unpack(">HH", data[at : at + 4])
        if extension == 51:
            group = int.from_bytes(data[at + 4 : at + 6], "big")
        at += 4 + length
    return group, suite, random == RETRY


def refused_with(sent, *alerts):
    answer = first_record(sent)
    check(answer is not None and answer[0] == ALERT and answer[1][0] == 2 and answer[1][1] in alerts, answer)


def groups():
    check(chosen(hello(shares=(HYBRID, X25519)))[::2] == (HYBRID, False), "the hybrid group is taken where it is offered")
    check(chosen(hello(shares=(X25519, HYBRID)))[::2] == (HYBRID, False), "whatever stands first among the shares")
    check(chosen(hello(shares=(X25519,)))[::2] == (HYBRID, True), "one who prefers it and sent no share is asked for one")
    check(chosen(hello(groups=(X25519,)))[::2] == (X25519, False), "a client without it is served")
    check(chosen(hello(groups=(SECP256R1,), shares=()))[::2] == (SECP256R1, True), "a client with NIST's curves alone is asked for a share")
    refused_with(hello(groups=(0x0016,), shares=()), HANDSHAKE_FAILURE)


def versions_and_suites():
    for suite in (AES_128_GCM, AES_256_GCM, CHACHA20):
        check(chosen(hello(suites=(suite,)))[1] == suite, hex(suite))
    # The three below are of TLS 1.2: ECDHE with AES-GCM and CHACHA20-POLY1305.
    old = (0xC02B, 0xC02F, 0xCCA9)
    for versions in ((TLS12,), (0x0302,), (0x0301,), (0x0300,)):
        refused_with(hello(versions=versions, suites=old), PROTOCOL_VERSION)
    refused_with(hello(suites=old), HANDSHAKE_FAILURE)
    refused_with(hello(versions=(0x0305,)), PROTOCOL_VERSION)


def malformed():
    # RFC 8446, section 4.1.2: one compression method, null.
    refused_with(hello(compression=b"\1"), ILLEGAL_PARAMETER)
    refused_with(record(HANDSHAKE, b"\1" + sized(b"short", 3)), DECODE_ERROR)
    refused_with(record(23, b"data before any handshake"), UNEXPECTED_MESSAGE)
    whole = hello()
    for sent in (b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n", b"\0" * 64, b"\xff" * 64, whole[:3] + b"\xff\xff" + whole[5:] + bytes(70000)):
        answer = first_record(sent)
        check(answer is None or answer[0] == ALERT, answer)


def python_client():
    for offered, agreed in ((["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)):
        context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
        if offered:
            context.set_alpn_protocols(offered)
        with connect() as line, context.wrap_socket(line, server_hostname="localhost") as held:
            check(held.version() == "TLSv1.3" and held.selected_alpn_protocol() == agreed and held.compression() is None, held.cipher())
            if agreed != "h2":
                held.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                check(held.makefile("rb").read().startswith(b"HTTP/1.1 200"), "health")
    old = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    foreign = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    foreign.set_alpn_protocols(["spdy/3"])
    for context, reason in ((old, "protocol version"), (foreign, "no application protocol")):
        try:
            with connect() as line:
                context.wrap_socket(line, server_hostname="localhost")
        except ssl.SSLError as error:
            check(f"alert {reason}" in str(error), error)
        else:
            raise AssertionError(reason)


def sslscan():
    told = subprocess.run(["sslscan", "--no-colour", "--xml=-", f"{ADDRESS.hostname}:{ADDRESS.port}"], capture_output=True, text=True, check=True, timeout=120)
    found = tree.fromstring(told.stdout).find("ssltest")
    enabled = {f"{p.get('type')} {p.get('version')}" for p in found.iter("protocol") if p.get("enabled") == "1"}
    check(enabled == {"tls 1.3"}, enabled)
    ciphers = {(cipher.get("sslversion"), cipher.get("cipher")) for cipher in found.iter("cipher")}
    aead = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
    check(ciphers == {("TLSv1.3", cipher) for cipher in aead}, ciphers)
    # Said only of versions that have it.
    check(all(compression.get("supported") == "0" for compression in found.iter("compression")), "compression")
    renegotiation = found.find("renegotiation")
    check(renegotiation.get("supported") == "0", renegotiation.attrib)
    check(all(leak.get("vulnerable") == "0" for leak in found.iter("heartbleed")), "heartbleed")
    offered = {group.get("name") for group in found.iter("group")}
    check("x25519" in offered and offered <= {"x25519", "secp256r1 (NIST P-256)", "secp384r1 (NIST P-384)"}, offered)


run("tls and sslscan", groups, versions_and_suites, malformed, python_client, sslscan)
