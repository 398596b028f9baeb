#!/usr/bin/env python3
"""Writes notes.json: notes that c2sp.org/signed-note and c2sp.org/tlog-checkpoint accept or refuse.

Each verdict comes from the reader below, not from the Rust code. Needs the `cryptography` package.
"""
import base64
import hashlib
import json
import pathlib
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

DASH = "\u2014"
ORDER = 2**252 + 27742317777372353535851937790883648493
SUMDB = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SMALL = ("go.sum database tree\n6476701\nmb8QLQIs0Z0yP5Cstq6guj87oXWeC9gEM8oVikmm9Wk=\n\n"
         f"{DASH} sum.golang.org Az3grsLX85Gz+s1SiTbgkuqxgItqFq7gsMUEyVnrsa9LM7Us9S+1xbFIGu95949rj4nPRYfvimWEPWL+o3GeoWwOoAw=\n")
TWO = ("go.sum database tree\n15067302\ngJyioq6dwR9n+NjEWORfYmH+ubeYm3kH42BBQ0bTpYI=\n\n"
       f"{DASH} sum.golang.org Az3grp1rvWOs5NKlr/xR4GLN/CDyzzakmt1o61uSxYKpK1SerqOP2ClbX/peKUZjYnyomH5Xz7GZG3TpB7OeKn4E2ww=\n"
       f"{DASH} test.example.com qTGhC/xIPQ0AXKHK6Y+9ypRfuvMZWPjRXM8NiOg5M1WREn07VQXyuIXM3NRNav3ieVFLUqDRK77PWDmL6w8w84UqeAw=\n")
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN_NOTE = ("If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
                f"{DASH} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n")
FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = ("This is an example message.\n\n"
            f"{DASH} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n")


def strict_b64(text):
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("not canonical")
    return raw


def name_ok(name):
    return name != "" and "+" not in name and not any(c.isspace() or c < " " for c in name)


def note_text(vkey, note):
    """The text if `note` verifies under `vkey`, else None."""
    name, key_id, key = vkey.split("+", 2)
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:])
    try:
        text = note.decode()
    except UnicodeDecodeError:
        return None
    if any(c < " " and c != "\n" for c in text) or "\n\n" not in text:
        return None
    at = text.rindex("\n\n")
    body, lines = text[: at + 1], text[at + 2:]
    if not lines.endswith("\n"):
        return None
    verified = False
    for line in lines[:-1].split("\n"):
        match = re.fullmatch(f"{DASH} ([^ ]*) (.*)", line)
        try:
            if not match or not name_ok(match[1]):
                return None
            raw = strict_b64(match[2])
        except ValueError:
            return None
        if len(raw) < 5:
            return None
        if match[1] == name and raw[:4].hex() == key_id:
            if int.from_bytes(raw[36:], "little") >= ORDER:
                return None
            try:
                public.verify(raw[4:], body.encode())
            except InvalidSignature:
                return None
            verified = True
    return body if verified else None


def is_checkpoint(text):
    lines = text[:-1].split("\n")
    if len(lines) < 3 or "" in lines or not re.fullmatch("0|[1-9][0-9]*", lines[1]) or int(lines[1]) >= 2**64:
        return False
    try:
        return len(strict_b64(lines[2])) == 32
    except ValueError:
        return False


def key_of(name, public):
    typed = b"\x01" + public
    key_id = hashlib.sha256(name.encode() + b"\n" + typed).digest()[:4]
    return key_id, f"{name}+{key_id.hex()}+{base64.b64encode(typed).decode()}"


def signed(name, text):
    """A note with this text by the RFC 8032, section 7.1, test 1 key."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    key_id, vkey = key_of(name, public)
    signature = base64.b64encode(key_id + private.sign(text.encode())).decode()
    return vkey, f"{text}\n{DASH} {name} {signature}\n"


def main():
    body, line = SMALL.split("\n\n")
    encoded = line.split(" ")[2].strip()
    raw = base64.b64decode(encoded)
    high_s = raw[:36] + (int.from_bytes(raw[36:], "little") + ORDER).to_bytes(32, "little")
    low_bits = encoded[:-2] + chr(ord(encoded[-2]) + 1) + "="
    wrong = base64.b64encode(raw[:-1] + bytes([raw[-1] ^ 1])).decode()
    other_id = base64.b64encode(bytes([raw[0] ^ 1]) + raw[1:]).decode()
    root = body.split("\n")[2]
    cases = [
        ("sumdb-small", SUMDB, SMALL),
        ("sumdb-two-signatures", SUMDB, TWO),
        ("go-note", NEUMANN, NEUMANN_NOTE),
        ("go-foo", FOO, FOO_NOTE),
        ("signature-bit-flipped", SUMDB, SMALL.replace(encoded, wrong)),
        ("text-changed", SUMDB, SMALL.replace("6476701", "6476702")),
        ("high-s", SUMDB, SMALL.replace(encoded, base64.b64encode(high_s).decode())),
        ("base64-trailing-bits", SUMDB, SMALL.replace(encoded, low_bits)),
        ("base64-no-padding", SUMDB, SMALL.replace(encoded, encoded.rstrip("="))),
        ("base64-url-alphabet", SUMDB, SMALL.replace(encoded, encoded.replace("+", "-").replace("/", "_"))),
        ("base64-with-space", SUMDB, SMALL.replace(encoded, encoded + " ")),
        ("signature-too-short", SUMDB, SMALL.replace(encoded, base64.b64encode(raw[:-1]).decode())),
        ("only-a-key-id", SUMDB, SMALL.replace(encoded, base64.b64encode(raw[:4]).decode())),
        ("crlf", SUMDB, SMALL.replace("\n", "\r\n")),
        ("cr-in-text", SUMDB, SMALL.replace("6476701\n", "6476701\r\n")),
        ("nul-in-text", SUMDB, SMALL.replace("go.sum", "go\0sum")),
        ("no-final-newline", SUMDB, SMALL[:-1]),
        ("two-final-newlines", SUMDB, SMALL + "\n"),
        ("no-blank-line", SUMDB, SMALL.replace("\n\n", "\n")),
        ("no-signature", SUMDB, body + "\n\n"),
        ("hyphen-for-dash", SUMDB, SMALL.replace(DASH, "-")),
        ("no-break-space", SUMDB, SMALL.replace(f"{DASH} ", f"{DASH}\u00a0")),
        ("same-signature-twice", SUMDB, SMALL + line),
        ("good-then-bad-by-one-key", SUMDB, SMALL + line.replace(encoded, wrong)),
        ("bad-then-good-by-one-key", SUMDB, f"{body}\n\n{line.replace(encoded, wrong)}{line}"),
        ("same-name-other-id", SUMDB, SMALL.replace(encoded, other_id)),
        ("other-name-same-id", SUMDB, SMALL.replace(f"{DASH} sum.golang.org", f"{DASH} sum.golang.net")),
        ("unknown-garbage-after", SUMDB, SMALL + f"{DASH} other.example AAAAAAA=\n"),
        ("unknown-with-plus-in-name", SUMDB, SMALL + f"{DASH} oth+er AAAAAAA=\n"),
        ("unknown-with-empty-name", SUMDB, SMALL + f"{DASH}  AAAAAAA=\n"),
        ("fifteen-unknown", SUMDB, SMALL + "".join(f"{DASH} w{i}.example AAAAAAA=\n" for i in range(15))),
        ("invalid-utf8", SUMDB, SMALL.encode().replace(b"tree", b"tr\xffe")),
    ]
    origin = "example.com/log"
    for name, text in [
        ("made-plain", f"{origin}\n5\n{root}\n"),
        ("made-empty-tree", f"{origin}\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"),
        ("made-largest", f"{origin}\n{2**64 - 1}\n{root}\n"),
        ("made-too-large", f"{origin}\n{2**64}\n{root}\n"),
        ("made-leading-zero", f"{origin}\n05\n{root}\n"),
        ("made-plus-sign", f"{origin}\n+5\n{root}\n"),
        ("made-negative", f"{origin}\n-5\n{root}\n"),
        ("made-extension", f"{origin}\n5\n{root}\nanything at all\n"),
        ("made-empty-extension", f"{origin}\n5\n{root}\n\nmore\n"),
        ("made-short-root", f"{origin}\n5\n{base64.b64encode(bytes(31)).decode()}\n"),
        ("made-root-not-canonical", f"{origin}\n5\n{root[:-2]}l=\n"),
        ("made-no-root", f"{origin}\n5\n"),
        ("made-empty-origin", f"\n5\n{root}\n"),
    ]:
        vkey, note = signed(origin, text)
        cases.append((name, vkey, note))
    out = []
    for name, vkey, note in cases:
        note = note if isinstance(note, bytes) else note.encode()
        text = note_text(vkey, note)
        out.append({"name": name, "key": vkey, "note": base64.b64encode(note).decode(),
                    "note_ok": text is not None, "checkpoint_ok": text is not None and is_checkpoint(text)})
    path = pathlib.Path(__file__).with_name("notes.json")
    path.write_text("[\n" + ",\n".join(json.dumps(case) for case in out) + "\n]\n")


if __name__ == "__main__":
    main()
