"""Verifies Anchorhold servers: evidence, attestation documents and receipts.

The decisions are those of the Rust verifier in ``anchorhold._native``; an outcome is the JSON of the command line, as a dictionary.
``ValueError`` says that there was nothing to judge, such as a policy that cannot be read. Evidence that is refused is an outcome:
look at ``outcome["verdict"]``.

``anchorhold.httpx`` has transports with which ``httpx`` and ``openai`` talk to attested servers only.
"""

import datetime
import json

from . import _native
from ._native import ConnectionFailed, Refused

__all__ = [
    "ConnectionFailed",
    "Refused",
    "judge_case",
    "verify_document",
    "verify_evidence",
    "verify_note",
    "verify_receipt",
]


def _time(at=None):
    """By the second, as certificates are judged. A time without a zone would mean another one on every machine."""
    if at is None:
        at = datetime.datetime.now(datetime.timezone.utc)
    if at.tzinfo is None:
        raise ValueError("the time has no zone")
    return at.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _bytes(value):
    return bytes.fromhex(value) if isinstance(value, str) else bytes(value)


def verify_evidence(bundle, *, report_data, accepted, at=None):
    """Judges an evidence bundle (JSON bytes) for the 64 bytes of report data that were asked for."""
    outcome = _native.verify_evidence(bundle, _bytes(report_data), json.dumps(accepted), _time(at))
    return json.loads(outcome)


def verify_document(document, *, nonce, tls_key, accepted, endorsements=None, at=None, target="document"):
    """Judges an attestation document for the nonce that it was asked for with.

    ``tls_key`` is the SHA-256 of the SubjectPublicKeyInfo that the server showed on the connection. ``None`` says that it is not known;
    then nothing is known of the connection, and only keys that the document names may be relied on. ``accepted`` says what is
    accepted: ``{"measurements": [...]}`` or ``{"profile": "..."}``. ``endorsements`` is an evidence bundle (JSON bytes).
    """
    key = None if tls_key is None else _bytes(tls_key)
    outcome = _native.verify_document(
        target, document, _bytes(nonce), key, endorsements, json.dumps(accepted), _time(at)
    )
    return json.loads(outcome)


def verify_receipt(receipt, *, audit_key, request=None, response=None, receipt_key=None):
    """Judges a receipt for the audit key of an accepted document and, where all three are given, for the bodies of the request."""
    key = None if receipt_key is None else _bytes(receipt_key)
    return json.loads(_native.verify_receipt(receipt, _bytes(audit_key), request, response, key))


def verify_note(note, *, key):
    """Judges a signed note for a log's key (``name+hash+key``), and its text as a checkpoint."""
    return json.loads(_native.verify_note(note, key))


def judge_case(case, files):
    """Judges one case of a folder of cases (attestation/vectors/MANIFEST.md): every rule that was looked at."""
    return json.loads(_native.judge_case(json.dumps(case), files))
