"""What the Python package says of the vectors. usage: bindings_verdicts.py INPUTS CASES; see bindings.sh."""

import json
import pathlib
import sys
from datetime import datetime

import anchorhold


def failed(checks):
    return ",".join(check["code"] for check in checks if check["outcome"] == "failed")


def judge(given):
    if given["kind"] == "note":
        found = anchorhold.verify_note(bytes.fromhex(given["note"]), key=given["key"])
        return f"signed={json.dumps(found['signed'])} checkpoint={json.dumps(found['checkpoint'])}"
    if given["kind"] == "receipt":
        bodies = given["bodies"]
        named = dict(zip(("request", "response", "receipt_key"), map(bytes.fromhex, bodies))) if bodies else {}
        found = anchorhold.verify_receipt(given["receipt"], audit_key=given["audit_key"], **named)
    else:
        trust = {"accepted": given["accepted"], "at": datetime.fromisoformat(given["at"].replace("Z", "+00:00"))}
        if given["kind"] == "document":
            found = anchorhold.verify_document(
                bytes.fromhex(given["document"]), nonce=given["nonce"], tls_key=given["tls_key"], **trust
            )
        else:
            found = anchorhold.verify_evidence(bytes.fromhex(given["bundle"]), report_data=given["report_data"], **trust)
    return f"{found['verdict']} {failed(found['checks'])}"


def main(inputs, cases):
    for line in pathlib.Path(inputs).read_text().splitlines():
        given = json.loads(line)
        try:
            found = judge(given)
        except ValueError as error:
            found = f"error {error}"
        print(given["kind"], given["id"], found)
    folder = pathlib.Path(cases)
    for case in json.loads((folder / "manifest.json").read_text())["cases"]:
        files = {role: (folder / path).read_bytes() for role, path in case["files"].items()}
        try:
            checks = anchorhold.judge_case(case, files)
            codes = failed(checks)
            found = f"{'reject' if codes else 'accept'} {codes}"
        except ValueError as error:
            found = f"error {error}"
        print("case", case["id"], found)


main(*sys.argv[1:])
