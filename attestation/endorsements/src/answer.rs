//! Takes what was asked for out of an answer, and looks at it as far as keeping it needs: that it is of the right kind, about
//! the right thing, and until when it holds. Whether it is genuine is for the verifier.

use crate::endorsement::Endorsement;
use crate::error::Cause;
use crate::item::{CertId, Fmspc, Item, RimId, hwid, product_of};
use crate::ocsp;
use crate::rim;
use crate::transport::Answer;
use anchorhold_rats::{Der, Timestamp};
use anchorhold_verifier::pem;
use anchorhold_verifier::snp::{ChipId, Product};
use anchorhold_verifier::x509::{Certificate, RevocationList};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// AMD sends an intermediate and a root, Intel a signer or CA and a root.
const MAX_CHAIN: usize = 4;
/// AMD's HWID, below 1.3.6.1.4.1.3704.1.
const AMD_HWID_ARC: &[u8] = &[4];

const fn wrong<T>(wanted: &'static str) -> Result<T, Cause> {
    Err(Cause::Content { wanted })
}

/// What the answer to a request for `item` holds.
pub(crate) fn take(item: &Item, answer: &Answer) -> Result<Endorsement, Cause> {
    let body = || Der(answer.body.to_vec());
    match item {
        Item::Vcek { .. } => Ok(Endorsement::Certificate { der: body() }),
        Item::AmdChain { .. } => {
            let certificates =
                std::str::from_utf8(&answer.body).ok().and_then(|t| pem::read(t, MAX_CHAIN).ok());
            let certificates =
                certificates.ok_or(Cause::Content { wanted: "a chain of PEM certificates" })?;
            Ok(Endorsement::Certificates { ders: certificates.into_iter().map(Der).collect() })
        }
        Item::AmdCrl { .. } | Item::IntelRootCrl => Ok(Endorsement::RevocationList {
            der: Der(der_or_hex(&answer.body)),
            issuer_chain: String::new(),
        }),
        Item::PckCrl { .. } => Ok(Endorsement::RevocationList {
            der: Der(der_or_hex(&answer.body)),
            issuer_chain: issuer_chain(answer, &["sgx-pck-crl-issuer-chain"])?,
        }),
        Item::TcbInfo { .. } => {
            let Ok(TcbAnswer { tcb_info, signature }) = serde_json::from_slice(&answer.body) else {
                return wrong("TCB info as JSON");
            };
            let chain = issuer_chain(answer, &["tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain"])?;
            statement(tcb_info, &signature, chain)
        }
        Item::QeIdentity { .. } => {
            let Ok(QeAnswer { enclave_identity, signature }) = serde_json::from_slice(&answer.body) else {
                return wrong("an enclave identity as JSON");
            };
            let chain = issuer_chain(answer, &["sgx-enclave-identity-issuer-chain"])?;
            statement(enclave_identity, &signature, chain)
        }
        Item::Rim(id) => manifest(id, &answer.body),
        Item::Ocsp(id) => match ocsp::read_response(&answer.body, id) {
            Ok(ocsp::Status::TryLater) => {
                Err(Cause::Unavailable { status: answer.status, retry_after_s: None })
            }
            _ => Ok(Endorsement::Ocsp { der: body() }),
        },
    }
}

/// The signed object as [`RawValue`], since the signature is over its exact text.
#[derive(Deserialize)]
struct TcbAnswer<'a> {
    #[serde(borrow, rename = "tcbInfo")]
    tcb_info: &'a RawValue,
    #[serde(borrow)]
    signature: Cow<'a, str>,
}

#[derive(Deserialize)]
struct QeAnswer<'a> {
    #[serde(borrow, rename = "enclaveIdentity")]
    enclave_identity: &'a RawValue,
    #[serde(borrow)]
    signature: Cow<'a, str>,
}

/// What the RIM service sends; it also states a digest of the document, which says no more than the document's own
/// signature.
#[derive(Deserialize)]
struct RimAnswer<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    rim: Cow<'a, str>,
}

fn statement(text: &RawValue, signature: &str, issuer_chain: String) -> Result<Endorsement, Cause> {
    match unhex(signature.as_bytes()) {
        Some(signature) if signature.len() == 64 => Ok(Endorsement::Statement {
            text: text.get().to_owned(),
            signature: Der(signature),
            issuer_chain,
        }),
        _ => wrong("signed with 64 bytes in hex"),
    }
}

fn manifest(id: &RimId, body: &[u8]) -> Result<Endorsement, Cause> {
    let Ok(RimAnswer { id: observed, rim }) = serde_json::from_slice(body) else {
        return wrong("a reference manifest in JSON");
    };
    if observed != id.as_str() {
        return wrong("the reference manifest of that id");
    }
    let xml = STANDARD.decode(rim.as_bytes());
    xml.map_or_else(
        |_| wrong("a reference manifest in base64"),
        |xml| Ok(Endorsement::Manifest { xml: Der(xml) }),
    )
}

/// The PEM certificates in a header field, which Intel writes percent-encoded since they have line ends.
fn issuer_chain(answer: &Answer, names: &[&str]) -> Result<String, Cause> {
    let value = names.iter().find_map(|name| answer.headers.get(*name));
    let Some(value) = value else { return wrong("accompanied by its issuer chain") };
    let text = percent_decode(value.as_bytes()).and_then(|bytes| String::from_utf8(bytes).ok());
    text.map_or_else(|| wrong("accompanied by an issuer chain in percent encoding"), Ok)
}

fn percent_decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            out.extend(unhex(digits)?);
            rest = after;
        } else {
            out.push(*byte);
        }
    }
    Some(out)
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = text.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}

/// A PCCS sends revocation lists in hex. The two cannot be mistaken: the length of a DER sequence of over 127 bytes begins with
/// a byte that is not ASCII.
fn der_or_hex(body: &[u8]) -> Vec<u8> {
    unhex(body.trim_ascii()).filter(|bytes| !bytes.is_empty()).unwrap_or_else(|| body.to_vec())
}

/// Until when `value` holds, by its own words, if it is what `item` names; `None` where it does not say.
pub(crate) fn judge(item: &Item, value: &Endorsement) -> Result<Option<Timestamp>, Cause> {
    match (item, value) {
        (Item::Vcek { chip_id, tcb }, Endorsement::Certificate { der }) => {
            judge_vcek(product_of(tcb), chip_id, &der.0).map(Some)
        }
        (Item::AmdChain { .. }, Endorsement::Certificates { ders }) => {
            let ends =
                ders.iter().map(|der| Certificate::parse(&der.0).map(|certificate| certificate.not_after));
            match ends.collect::<Result<Vec<_>, _>>() {
                Ok(ends) if !ends.is_empty() => Ok(ends.into_iter().min()),
                _ => wrong("a chain of X.509 certificates"),
            }
        }
        (Item::AmdCrl { .. } | Item::IntelRootCrl, Endorsement::RevocationList { der, .. }) => {
            judge_crl(&der.0)
        }
        (Item::PckCrl { .. }, Endorsement::RevocationList { der, issuer_chain }) => {
            judge_chain(issuer_chain).and_then(|()| judge_crl(&der.0))
        }
        (Item::TcbInfo { fmspc, .. }, Endorsement::Statement { text, issuer_chain, .. }) => {
            judge_chain(issuer_chain).and_then(|()| judge_tcb_info(*fmspc, text))
        }
        (Item::QeIdentity { .. }, Endorsement::Statement { text, issuer_chain, .. }) => {
            judge_chain(issuer_chain).and_then(|()| judge_qe_identity(text))
        }
        (Item::Rim(_), Endorsement::Manifest { xml }) => judge_manifest(&xml.0),
        (Item::Ocsp(id), Endorsement::Ocsp { der }) => judge_ocsp(id, &der.0),
        _ => wrong("of the kind that was asked for"),
    }
}

/// The chip is compared, since a VCEK is kept for years and another chip's would stand in the way as long.
fn judge_vcek(product: Product, chip_id: &ChipId, der: &[u8]) -> Result<Timestamp, Cause> {
    let Ok(certificate) = Certificate::parse(der) else { return wrong("an X.509 certificate") };
    let wanted = hwid(product, chip_id);
    match certificate.amd_extension(AMD_HWID_ARC) {
        // Bare in real certificates, a DER OCTET STRING in the specification.
        Some(observed) if observed == wanted || observed.get(2..) == Some(wanted) => {
            Ok(certificate.not_after)
        }
        _ => wrong("the certificate of that chip"),
    }
}

fn judge_crl(der: &[u8]) -> Result<Option<Timestamp>, Cause> {
    RevocationList::parse(der).map_or_else(|_| wrong("a revocation list"), |list| Ok(Some(list.next_update)))
}

fn judge_chain(text: &str) -> Result<(), Cause> {
    match pem::read(text, MAX_CHAIN) {
        Ok(chain) if !chain.is_empty() => Ok(()),
        _ => wrong("accompanied by an issuer chain in PEM"),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    fmspc: Cow<'a, str>,
    next_update: Timestamp,
}

fn judge_tcb_info(fmspc: Fmspc, text: &str) -> Result<Option<Timestamp>, Cause> {
    match serde_json::from_str::<Statement<'_>>(text) {
        Ok(said) if said.id == "TDX" && said.fmspc.eq_ignore_ascii_case(&fmspc.to_string()) => {
            Ok(Some(said.next_update))
        }
        _ => wrong("TCB info of that platform for TDX"),
    }
}

fn judge_qe_identity(text: &str) -> Result<Option<Timestamp>, Cause> {
    match serde_json::from_str::<Statement<'_>>(text) {
        Ok(said) if said.id == "TD_QE" => Ok(Some(said.next_update)),
        _ => wrong("the identity of the quoting enclave for TDX"),
    }
}

/// A manifest is renewed when its signer's certificate ends.
fn judge_manifest(xml: &[u8]) -> Result<Option<Timestamp>, Cause> {
    if !rim::is_manifest(xml) {
        return wrong("a SWID document");
    }
    let certificates = rim::certificates(xml);
    let ends = certificates.iter().filter_map(|der| Certificate::parse(der).ok()).map(|c| c.not_after);
    Ok(ends.min())
}

fn judge_ocsp(id: &CertId, der: &[u8]) -> Result<Option<Timestamp>, Cause> {
    match ocsp::read_response(der, id) {
        Ok(ocsp::Status::Good(next_update)) => Ok(next_update),
        _ => wrong("an OCSP response about that certificate"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{PckCa, Update};
    use bytes::Bytes;
    use http::HeaderMap;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
    const ENCODED: &str = "-----BEGIN%20CERTIFICATE-----%0AAQID%0A-----END%20CERTIFICATE-----%0A";

    fn answer(body: &str, headers: &[(&'static str, &str)]) -> Answer {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Answer { status: 200, headers, body: Bytes::from(body.to_owned()) }
    }

    const TCB: Item = Item::TcbInfo { fmspc: Fmspc([1, 2, 3, 4, 5, 0xab]), update: Update::Standard };

    #[test]
    fn keeps_the_signed_text_byte_for_byte() {
        let text = "{ \"id\":\"TDX\",\"fmspc\" : \"0102030405aB\",\n\"nextUpdate\":\"2025-07-19T10:16:03Z\", \"x\":1.0e2}";
        let body = format!("{{\"signature\":\"{}\", \"tcbInfo\": {text} }}", "0a".repeat(64));
        for name in ["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"] {
            let name: &'static str = name;
            let taken = take(&TCB, &answer(&body, &[(name, ENCODED)])).unwrap();
            let Endorsement::Statement { text: observed, signature, issuer_chain } = &taken else { panic!() };
            assert_eq!((observed.as_str(), issuer_chain.as_str()), (text, PEM));
            assert_eq!(signature.0, [10; 64]);
            let until = Timestamp::from_civil((2025, 7, 19), (10, 16, 3));
            assert_eq!(judge(&TCB, &taken), Ok(until));
        }
    }

    #[test]
    fn refuses_statements_without_signature_or_issuer_chain() {
        let object = "{\"id\":\"TDX\",\"fmspc\":\"0102030405AB\",\"nextUpdate\":\"2025-07-19T10:16:03Z\"}";
        let signed = |signature: &str| format!("{{\"tcbInfo\":{object},\"signature\":\"{signature}\"}}");
        let good = signed(&"0a".repeat(64));
        let chain = ("tcb-info-issuer-chain", ENCODED);
        assert!(take(&TCB, &answer(&good, &[chain])).is_ok());
        for (body, headers) in [
            (good.as_str(), vec![]),
            (&good, vec![("tcb-info-issuer-chain", "%4")]),
            (&good, vec![("tcb-info-issuer-chain", "%zz")]),
            (&good, vec![("tcb-info-issuer-chain", "%ff")]),
            (&signed(&"0a".repeat(63)), vec![chain]),
            (&signed(&"0g".repeat(64)), vec![chain]),
            (object, vec![chain]),
            ("<html>", vec![chain]),
            ("", vec![chain]),
        ] {
            assert!(
                matches!(take(&TCB, &answer(body, &headers)), Err(Cause::Content { .. })),
                "{body} {headers:?}"
            );
        }
        let nothing = take(&TCB, &answer(&good, &[("tcb-info-issuer-chain", "none")])).unwrap();
        assert_eq!(judge(&TCB, &nothing), wrong("accompanied by an issuer chain in PEM"));
    }

    #[test]
    fn refuses_statements_about_something_else() {
        let statement = |text: &str| Endorsement::Statement {
            text: text.to_owned(),
            signature: Der(vec![0; 64]),
            issuer_chain: PEM.to_owned(),
        };
        let other =
            statement("{\"id\":\"TDX\",\"fmspc\":\"FFFFFFFFFFFF\",\"nextUpdate\":\"2025-07-19T10:16:03Z\"}");
        assert!(judge(&TCB, &other).is_err());
        let sgx =
            statement("{\"id\":\"SGX\",\"fmspc\":\"0102030405AB\",\"nextUpdate\":\"2025-07-19T10:16:03Z\"}");
        assert!(judge(&TCB, &sgx).is_err());
        let qe = Item::QeIdentity { update: Update::Standard };
        assert!(judge(&qe, &sgx).is_err());
        assert!(judge(&qe, &statement("{\"id\":\"TD_QE\"}")).is_err());
        let good = statement("{\"id\":\"TD_QE\",\"nextUpdate\":\"2025-07-19T10:16:03Z\"}");
        assert!(judge(&qe, &good).is_ok());
        assert_eq!(judge(&Item::IntelRootCrl, &good), wrong("of the kind that was asked for"));
    }

    #[test]
    fn reads_lists_in_der_and_in_hex() {
        assert_eq!(der_or_hex(&[0x30, 0x82, 1]), [0x30, 0x82, 1]);
        assert_eq!(der_or_hex(b"308201\n"), [0x30, 0x82, 1]);
        assert_eq!(der_or_hex(b"30820"), b"30820");
        assert_eq!(der_or_hex(b""), b"");
        let item = Item::PckCrl { ca: PckCa::Platform };
        let taken = take(&item, &answer("<html>", &[("sgx-pck-crl-issuer-chain", ENCODED)])).unwrap();
        assert_eq!(judge(&item, &taken), wrong("a revocation list"));
        assert_eq!(take(&item, &answer("3000", &[])), wrong("accompanied by its issuer chain"));
    }

    #[test]
    fn refuses_the_manifest_of_another_id() {
        let item = Item::Rim(RimId::new("NV_A").unwrap());
        let body = |id: &str, rim: &str| {
            answer(&format!("{{\"id\":\"{id}\",\"rim\":\"{rim}\",\"sha256\":\"\"}}"), &[])
        };
        let xml = STANDARD.encode("<SoftwareIdentity xmlns=\"\"></SoftwareIdentity>");
        let good = take(&item, &body("NV_A", &xml)).unwrap();
        assert_eq!(judge(&item, &good), Ok(None));
        assert!(take(&item, &body("NV_B", &xml)).is_err());
        assert!(take(&item, &body("NV_A", "@")).is_err());
        assert!(take(&item, &answer("[]", &[])).is_err());
        let other = take(&item, &body("NV_A", &STANDARD.encode("<html></html>"))).unwrap();
        assert_eq!(judge(&item, &other), wrong("a SWID document"));
    }

    #[test]
    fn refuses_what_is_no_certificate() {
        let item = Item::AmdChain { product: Product::Milan, signer: anchorhold_verifier::snp::Signer::Vcek };
        let taken = take(&item, &answer(PEM, &[])).unwrap();
        assert_eq!(judge(&item, &taken), wrong("a chain of X.509 certificates"));
        assert!(take(&item, &answer("<html>", &[])).is_err());
        let empty = take(&item, &answer("", &[])).unwrap();
        assert!(judge(&item, &empty).is_err());
    }

    #[test]
    fn an_ocsp_responder_may_ask_to_come_back() {
        let id = CertId { issuer_name_hash: [1; 48], issuer_key_hash: [2; 48], serial: vec![3] };
        let item = Item::Ocsp(Box::new(id.clone()));
        let body = |status| Answer {
            status: 200,
            headers: HeaderMap::new(),
            body: ocsp::tests::response(&id, status, None).into(),
        };
        assert!(matches!(take(&item, &body(3)), Err(Cause::Unavailable { .. })));
        assert!(judge(&item, &take(&item, &body(6)).unwrap()).is_err());
        assert_eq!(judge(&item, &take(&item, &body(0)).unwrap()), Ok(None));
    }
}
