"""Writes tlog.json: tiles, proofs and policies of C2SP, made and judged by an implementation of its own (needs `cryptography`).

Leaf number i of the logs here is the text "leaf i". Witness w signs with the seed SHA-256("witness w"), logs with that of make_notes.py.
"""
import base64
import hashlib
import json
import pathlib
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from make_notes import DASH, is_checkpoint, note_text, signed, strict_b64

ORIGIN = "example.com/log"


def sha(data):
    return hashlib.sha256(data).digest()


def leaf(i):
    return b"leaf %d" % i


def split(n):
    return 1 << (n - 1).bit_length() - 1


def mth(hashes):
    if len(hashes) < 2:
        return hashes[0] if hashes else sha(b"")
    k = split(len(hashes))
    return sha(b"\x01" + mth(hashes[:k]) + mth(hashes[k:]))


def path(m, hashes):
    if len(hashes) == 1:
        return []
    k = split(len(hashes))
    return path(m, hashes[:k]) + [mth(hashes[k:])] if m < k else path(m - k, hashes[k:]) + [mth(hashes[:k])]


def climb(m, n, node, proof):
    """The root that RFC 9162, section 2.1.3.2, leads to, or None."""
    if m >= n:
        return None
    fn, sn = m, n - 1
    for beside in proof:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            node = sha(b"\x01" + beside + node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = sha(b"\x01" + node + beside)
        fn, sn = fn >> 1, sn >> 1
    return node if sn == 0 else None


def tile_path(kind, index, width):
    groups = []
    while True:
        groups.insert(0, f"{index % 1000:03}")
        index //= 1000
        if not index:
            break
    number = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
    return f"tile/{kind}/{number}" + ("" if width == 256 else f".p/{width}")


def tiles(size):
    """Path and content of every tile of the log with so many leaves."""
    leaves = [leaf(i) for i in range(size)]
    for at in range(0, size, 256):
        part = leaves[at:at + 256]
        yield tile_path("entries", at // 256, len(part)), b"".join(len(e).to_bytes(2, "big") + e for e in part)
    level, hashes = 0, [sha(b"\x00" + e) for e in leaves]
    while hashes:
        for at in range(0, len(hashes), 256):
            part = hashes[at:at + 256]
            yield tile_path(level, at // 256, len(part)), b"".join(part)
        hashes = [mth(hashes[at:at + 256]) for at in range(0, len(hashes) - 255, 256)]
        level += 1


def tile_cases():
    for size in (1, 255, 256, 257, 65536, 70000):
        lines = sorted(f"{name} {sha(content).hex()}\n" for name, content in tiles(size))
        root = mth([sha(b"\x00" + leaf(i)) for i in range(size)])
        yield {"size": size, "root": root.hex(), "tiles": len(lines), "listing_sha256": sha("".join(lines).encode()).hex()}


GOOD_PATHS = [tile_path(0, 0, 256), tile_path(0, 1234067, 256), tile_path(63, 999, 1), tile_path("entries", 1000, 255),
              tile_path(7, 2**56 - 1, 256), tile_path(0, 2**64 - 1, 256)]
BAD_PATHS = ["", "tile", "tile/0", "tile/0/", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/0/0", "tile/0/0000", "tile/0/x000",
             "tile/0/x000/000", "tile/0/001/000", "tile/0/x1/000", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/",
             "tile/0/000.p", "tile/0/000/", "/tile/0/000", "tile/entries", "tile/entries/00a", "tile/data/000", "tile/0/x/../000",
             "tile/0/%30%30%30", "tile/0/000?x", "tile/0/x018/x446/x744/x073/x709/x551/616", "checkpoint", "tile/0/\uff10\uff10\uff10"]


def witness(name):
    private = Ed25519PrivateKey.from_private_bytes(sha(f"witness {name}".encode()))
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    key_id = sha(f"{name}\n".encode() + b"\x04" + public)[:4]
    return private, key_id, f"{name}+{key_id.hex()}+{base64.b64encode(bytes([4]) + public).decode()}"


def cosign(note, name, time=1_790_000_000):
    private, key_id, _ = witness(name)
    text = note[: note.rindex("\n\n") + 1]
    signature = private.sign(f"cosignature/v1\ntime {time}\n{text}".encode())
    return note + f"{DASH} {name} {base64.b64encode(key_id + time.to_bytes(8, 'big') + signature).decode()}\n"


def key_parts(vkey, kind):
    match = re.fullmatch(r"([^+\s]+)\+([0-9a-f]{8})\+(.*)", vkey)
    if not match:
        return None
    try:
        raw = strict_b64(match[3])
    except ValueError:
        return None
    if len(raw) != 33 or raw[0] != kind or sha(match[1].encode() + b"\n" + raw)[:4].hex() != match[2]:
        return None
    return match[1], match[2], raw[1:]


def read_policy(text):
    """Logs, witnesses by name, groups by name, quorum; None when the policy is malformed."""
    if not text.endswith("\n") or re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text):
        return None
    logs, names, members, quorum = [], {}, set(), []
    for line in text[:-1].split("\n"):
        items = re.split(r"[ \t]+", line.strip(" \t"))
        if items == [""] or items[0].startswith("#"):
            continue
        if items[0] == "log" and len(items) in (2, 3):
            key = key_parts(items[1], 1)
            if not key or any(key[2] == other[2] for other in logs):
                return None
            logs.append(key + (items[1],))
        elif items[0] == "witness" and len(items) in (3, 4):
            key = key_parts(items[2], 4)
            same = any(value[0] == "witness" and key and value[1][2] == key[2] for value in names.values())
            if not key or same or items[1] in names or items[1] == "none":
                return None
            names[items[1]] = ("witness", key)
        elif items[0] == "group" and len(items) > 3:
            _, name, needed, *inside = items
            if any(n not in names or n in members for n in inside) or len(set(inside)) < len(inside):
                return None
            needed = {"any": "1", "all": str(len(inside))}.get(needed, needed)
            if not re.fullmatch("[1-9][0-9]*", needed) or int(needed) > len(inside) or name in names or name == "none":
                return None
            members |= set(inside)
            names[name] = ("group", int(needed), inside)
        elif items[0] == "quorum" and len(items) == 2:
            if quorum or items[1] not in names and items[1] != "none":
                return None
            quorum = [items[1]]
        else:
            return None
    return (logs, names, quorum[0]) if quorum else None


def accepts(policy, note):
    """The checkpoint's size and root if the policy accepts it."""
    logs, names, quorum = policy
    text = next((t for t in (note_text(log[3], note.encode()) for log in logs if note.startswith(log[0] + "\n")) if t), None)
    if text is None or not is_checkpoint(text):
        return None
    cosigned = set()
    for line in note[note.rindex("\n\n") + 2:-1].split("\n"):
        _, who, encoded = line.split(" ")
        raw = strict_b64(encoded)
        for name, value in names.items():
            if value[0] == "witness" and value[1][0] == who and raw[:4].hex() == value[1][1]:
                message = f"cosignature/v1\ntime {int.from_bytes(raw[4:12], 'big')}\n{text}".encode()
                try:
                    Ed25519PublicKey.from_public_bytes(value[1][2]).verify(raw[12:], message)
                except InvalidSignature:
                    return None
                cosigned.add(name)

    def has(name):
        value = names[name]
        return name in cosigned if value[0] == "witness" else sum(map(has, value[2])) >= value[1]
    lines = text.split("\n")
    return (int(lines[1]), strict_b64(lines[2])) if quorum == "none" or has(quorum) else None


def proves(text, data, policy):
    head, blank, note = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines.pop(0) != "c2sp.org/tlog-proof@v1":
        return False
    try:
        if lines and lines[0].startswith("extra "):
            strict_b64(lines.pop(0)[6:])
        match = re.fullmatch("index (0|[1-9][0-9]*)", lines.pop(0) if lines else "")
        hashes = [strict_b64(line) for line in lines]
    except ValueError:
        return False
    if not match or any(len(h) != 32 for h in hashes):
        return False
    head = accepts(policy, note)
    return bool(head) and climb(int(match[1]), head[0], sha(b"\x00" + data), hashes) == head[1]


def policy_cases(vkey):
    keys = {w: witness(w)[2] for w in ("w1.example", "w2.example", "w3.example", "w4.example")}
    one, two, three, four = keys.values()
    lines = [f"log {vkey} https://example.com/", f"witness one {one}", f"witness two {two} https://w2.example/", f"witness three {three}"]
    base = "\n".join(lines) + "\n"
    log_as_witness = vkey
    return {
        "none": base + "quorum none\n", "one": base + "quorum one\n", "any": base + "group g any one two three\nquorum g\n",
        "two-of-three": base + "group g 2 one two three\nquorum g\n", "all": base + "group g all one two three\nquorum g\n",
        "nested": base + f"witness four {four}\ngroup a any one two\ngroup b all three four\ngroup c all a b\nquorum c\n",
        "spaces-and-comments": "# a comment\n\n \t \n\t# another\n" + base.replace(" ", " \t ") + "  quorum\tone  \n",
        "no-log": base.replace(lines[0] + "\n", "") + "quorum none\n", "quorum-first": f"quorum none\n{base}",
        "octets": base.replace("witness one", "witness \u00e9\u212a") + "quorum \u00e9\u212a\n",
        "no-quorum": base, "two-quorums": base + "quorum none\nquorum none\n", "unknown-quorum": base + "quorum four\n",
        "group-later": base + "quorum g\ngroup g any one\n", "no-final-newline": base + "quorum none", "empty": "", "only-newline": "\n",
        "carriage-return": base + "quorum none\r\n", "nul": base + "#\0\nquorum none\n", "unknown-line": base + "mirror x\nquorum none\n",
        "threshold-0": base + "group g 0 one two\nquorum g\n", "threshold-3-of-2": base + "group g 3 one two\nquorum g\n",
        "threshold-02": base + "group g 02 one two\nquorum g\n", "threshold-huge": base + f"group g {2**64} one\nquorum g\n",
        "no-members": base + "group g any\nquorum none\n", "member-twice": base + "group g any one one\nquorum g\n",
        "member-of-two": base + "group g any one two\ngroup h any two three\nquorum g\n", "member-none": base + "group g any none one\nquorum g\n",
        "witness-called-none": base.replace("witness one", "witness none") + "quorum none\n",
        "name-twice": base.replace("witness two", "witness one") + "quorum one\n", "group-name-taken": base + "group one any two\nquorum one\n",
        "same-witness-key": base + f"witness again {one}\nquorum one\n", "same-log-key": base + f"{lines[0]}\nquorum none\n",
        "log-key-as-witness": base + f"witness x {log_as_witness}\nquorum none\n", "witness-key-as-log": f"log {one}\nquorum none\n",
        "bad-key-id": base.replace(one, one.replace("+", "+0", 1)) + "quorum none\n", "too-many-items": base + "quorum none none\n",
        "itself": base + "group g any g\nquorum g\n",
    }


def main():
    size = 70
    hashes = [sha(b"\x00" + leaf(i)) for i in range(size)]
    root = base64.b64encode(mth(hashes)).decode()
    vkey, plain = signed(ORIGIN, f"{ORIGIN}\n{size}\n{root}\n")
    notes = {"": plain}
    for names in (("w1.example",), ("w2.example", "w3.example"), ("w1.example", "w2.example", "w3.example"), ("w3.example", "w4.example"),
                  ("w1.example", "w3.example", "w4.example"), ("stranger.example",)):
        note = plain
        for name in names:
            note = cosign(note, name)
        notes[" ".join(names)] = note
    bad = notes["w1.example"]
    at = bad.rindex("A")
    notes["w1.example, forged"] = bad.replace(bad[at - 20:at], bad[at - 20:at].swapcase())
    policies = []
    for name, text in policy_cases(vkey).items():
        policy = read_policy(text)
        accepted = [who for who, note in notes.items() if policy and accepts(policy, note)]
        policies.append({"name": name, "policy": text, "ok": policy is not None, "accepts": accepted})
    policy_text = policy_cases(vkey)["two-of-three"]
    policy, note = read_policy(policy_text), notes["w2.example w3.example"]

    def proof(index, hashes, note=note, extra=""):
        lines = "".join(base64.b64encode(h).decode() + "\n" for h in hashes)
        return f"c2sp.org/tlog-proof@v1\n{extra}index {index}\n{lines}\n{note}"
    good = path(41, hashes)
    base = proof(41, good)
    proofs = {"good": base, "last": proof(69, path(69, hashes)), "first": proof(0, path(0, hashes)), "extra": proof(41, good, extra="extra YWJj\n"),
              "empty-extra": proof(41, good, extra="extra \n"), "other-index": proof(40, good), "beyond": proof(70, good),
              "leading-zero": base.replace("index 41", "index 041"), "huge-index": proof(2**64, good), "no-index": base.replace("index 41\n", ""),
              "other-version": base.replace("@v1", "@v2"), "hash-missing": proof(41, good[1:]), "hash-doubled": proof(41, good[:1] + good),
              "hash-changed": proof(41, [sha(b"x")] + good[1:]), "short-hash": proof(41, [good[0][:31]] + good[1:]),
              "extra-after-index": base.replace("index 41\n", "index 41\nextra YWJj\n"), "bad-extra": proof(41, good, extra="extra YWJ\n"),
              "crlf": base.replace("\n", "\r\n"), "too-few-witnesses": proof(41, good, notes["w1.example"]), "unsigned": proof(41, good, notes[""][:-10] + "\n"),
              "no-note": base.split("\n\n")[0] + "\n\n", "blank-line": base.replace("index 41\n", "index 41\n\n"), "empty": "",
              "trailing": base + "x", "too-many-hashes": proof(41, good + [sha(b"x")] * 64)}
    out = {"leaf": "leaf INDEX", "trees": list(tile_cases()), "paths": GOOD_PATHS, "bad_paths": BAD_PATHS, "notes": notes,
           "policies": policies, "proof_policy": policy_text,
           "proofs": [{"name": n, "proof": t, "index": i, "ok": proves(t, leaf(i), policy)}
                      for n, t in proofs.items() for i in [{"last": 69, "first": 0}.get(n, 41)]]}
    # The same good proof for another leaf.
    out["proofs"].append({"name": "other-leaf", "proof": base, "index": 40, "ok": proves(base, leaf(40), policy)})
    pathlib.Path(__file__).with_name("tlog.json").write_text(json.dumps(out, indent=0, ensure_ascii=False) + "\n")
    here = pathlib.Path(__file__).parent
    (here / "policy.txt").write_text(policy_cases(vkey)["nested"])
    (here / "leaf.tlog-proof").write_text(proofs["extra"])
    print(sum(p["ok"] for p in policies), "of", len(policies), "policies,", sum(p["ok"] for p in out["proofs"]), "of", len(out["proofs"]), "proofs")


if __name__ == "__main__":
    main()
