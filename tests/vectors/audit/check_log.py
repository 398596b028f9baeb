#!/usr/bin/env python3
"""Recomputes root and signature of the log in this folder, without the Rust code."""
import base64
import hashlib
import json
import pathlib
import tarfile

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HERE = pathlib.Path(__file__).parent


def root(leaves):
    """MTH of RFC 6962, section 2.1, as it stands there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + root(leaves[:k]) + root(leaves[k:])).digest()


def main():
    leaves = (HERE / "entries.jsonl").read_bytes().split(b"\n")
    assert leaves.pop() == b""
    for index, leaf in enumerate(leaves):
        entry = json.loads(leaf)
        assert entry["seq"] == index
        assert json.dumps(entry, sort_keys=True, separators=(",", ":")).encode() == leaf
    name, key_id, key = (HERE / "log.vkey").read_text().strip().split("+", 2)
    text, line = (HERE / "checkpoint.note").read_text().split("\n\n")
    assert text.split("\n") == [name, str(len(leaves)), base64.b64encode(root(leaves)).decode()]
    _, signer, signature = line.strip().split(" ")
    signature = base64.b64decode(signature)
    assert signer == name and signature[:4].hex() == key_id
    Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:]).verify(signature[4:], (text + "\n").encode())
    hashes = b"".join(hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves)
    for name, part in (("bundle.tar", "-00000"), ("bundle-v1.tar", "")):
        with tarfile.open(HERE / name) as bundle:
            members = {member.name: bundle.extractfile(member).read() for member in bundle}
        assert members[f"entries{part}.jsonl"] == (HERE / "entries.jsonl").read_bytes()
        assert members["checkpoint.note"] == (HERE / "checkpoint.note").read_bytes()
        assert members[f"leaf-hashes{part}.bin"] == hashes
    print(f"{len(leaves)} entries, root and signature are right")


if __name__ == "__main__":
    main()
