"""Holds what a boot printed against what was computed: every predicted PCR, and every predicted event in its PCR's order."""

import json
import pathlib
import re
import struct
import sys

SIZES = {0x04: 20, 0x0B: 32, 0x0C: 48, 0x0D: 64}
NAMES = {0x0B: "sha256", 0x0C: "sha384"}
NO_ACTION = 3


def events(log):
    """The records of a log after its header: PCR, type, digests by bank (TCG PC Client Platform Firmware Profile, 10.2)."""
    at = 28 + 4 + struct.unpack_from("<I", log, 28)[0]
    while at < len(log):
        pcr, kind, count = struct.unpack_from("<III", log, at)
        at += 12
        digests = {}
        for _ in range(count):
            (algorithm,) = struct.unpack_from("<H", log, at)
            digests[NAMES.get(algorithm)] = log[at + 2 : at + 2 + SIZES[algorithm]].hex()
            at += 2 + SIZES[algorithm]
        at += 4 + struct.unpack_from("<I", log, at)[0]
        if kind != NO_ACTION:
            yield pcr, digests


def compare(folder, name):
    printed = (folder / f"{name}.log").read_text(errors="replace").replace("\r", "")
    predicted = json.loads((folder / f"{name}.json").read_text())
    log = re.search(r"BEGIN log\n(.*?)END log", printed, re.S)
    if not log or not log[1].strip():
        sys.exit(f"measured_boot: {name}: no event log in what the guest printed")
    logged = list(events(bytes.fromhex(re.sub(r"\s", "", log[1]))))
    values = {(bank, int(pcr)): value.lower() for bank, pcr, value in re.findall(r"PCR (\w+) (\d+) ([0-9A-F]+)", printed)}
    equal = 0
    for pcr in predicted["pcrs"]:
        for bank in ("sha256", "sha384"):
            if values.get((bank, pcr["pcr"])) != pcr[bank]:
                sys.exit(f"measured_boot: {name}: PCR {pcr['pcr']} of {bank} is {values.get((bank, pcr['pcr']))}, computed {pcr[bank]}")
            equal += 1
        of_log = [digests["sha384"] for index, digests in logged if index == pcr["pcr"]]
        of_files = [event["sha384"] for event in predicted["events"] if event["pcr"] == pcr["pcr"]]
        if of_log != of_files:
            sys.exit(f"measured_boot: {name}: events of PCR {pcr['pcr']}: logged {of_log}, computed {of_files}")
        equal += len(of_files)
    others = sorted({index for index, _ in logged} - {pcr["pcr"] for pcr in predicted["pcrs"]})
    print(f"{name}: {equal} registers and events are equal; PCRs {others} hold firmware and machine")
    return equal


folder = pathlib.Path(sys.argv[1])
total = sum(compare(folder, name) for name in sys.argv[2:])
print(f"measured boot: {total} equal")
