"""Judgements that need no server. That they are those of Rust, case by case, is shown by tests/scripts/bindings.sh."""

import datetime

import pytest

import anchorhold

ACCEPTED = {"measurements": ["5a" * 48]}


def test_case_47_what_is_no_document_is_not_authentic():
    for document in [b"", b"{}", b"\x00" * 100, b"[" * 100_000]:
        outcome = anchorhold.verify_document(document, nonce="07" * 32, tls_key=None, accepted=ACCEPTED)
        assert outcome["verdict"] == "not_authentic"
        assert [check["code"] for check in outcome["checks"]] == ["document_format"]


def test_refuses_values_of_another_length():
    with pytest.raises(ValueError):
        anchorhold.verify_document(b"{}", nonce=b"short", tls_key=None, accepted=ACCEPTED)
    with pytest.raises(ValueError):
        anchorhold.verify_document(b"{}", nonce="07" * 32, tls_key=b"short", accepted=ACCEPTED)
    with pytest.raises(ValueError):
        anchorhold.verify_evidence(b"{}", report_data=b"short", accepted=ACCEPTED)
    with pytest.raises(ValueError):
        anchorhold.verify_receipt("a.b", audit_key=b"short")


def test_refuses_a_bundle_that_cannot_be_read_and_a_time_without_a_zone():
    with pytest.raises(ValueError):
        anchorhold.verify_evidence(b"{}", report_data=b"\x00" * 64, accepted=ACCEPTED)
    with pytest.raises(ValueError):
        anchorhold.verify_document(b"{}", nonce="07" * 32, tls_key=None, accepted=ACCEPTED, at=datetime.datetime(2026, 1, 1))


def test_refuses_part_of_an_exchange():
    with pytest.raises(ValueError):
        anchorhold.verify_receipt("a.b", audit_key=b"\x00" * 32, request=b"")


def test_what_is_no_receipt_is_not_authentic():
    outcome = anchorhold.verify_receipt("a.b", audit_key=b"\x00" * 32)
    assert (outcome["verdict"], outcome["receipt"]) == ("not_authentic", None)
