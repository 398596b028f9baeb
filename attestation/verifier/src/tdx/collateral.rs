//! Intel's collateral: revocation lists, TCB info and QE identity, with the chains of their signers.

use super::chain::{self, Chain};
use super::codes;
use super::qe_identity::QeIdentity;
use super::tcb_info::{Kind, TcbInfo};
use crate::chain_cache::{ChainCache, Signatures};
use crate::x509::{Certificate, PublicKey, RevocationList};
use anchorhold_rats::{Checks, Code, TdxCollateral, Timestamp};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde::Deserialize;

const SIGNER_CERTIFICATES: usize = 2;
const SIGNER_NAME: &str = "Intel SGX TCB Signing";

/// Collateral that is signed and current.
#[derive(Debug)]
pub(super) struct Collateral<'a> {
    pub(super) tcb_info: TcbInfo<'a>,
    pub(super) qe_identity: QeIdentity<'a>,
    /// The end of the earliest validity among its parts.
    pub(super) expires: Timestamp,
}

/// The verified collateral; `None` when a rule failed.
pub(super) fn judge<'a>(
    given: &'a TdxCollateral,
    chain: &Chain<'_>,
    at: Timestamp,
    cache: Option<&ChainCache>,
    checks: &mut Checks,
) -> Option<Collateral<'a>> {
    let signatures = signatures(given, chain, cache);
    let lists = Lists::judge(given, chain, at, &signatures, checks)?;
    let tcb_chain = &given.tcb_info_issuer_chain;
    let tcb_signer = chain::read_pem(tcb_chain, SIGNER_CERTIFICATES, "TCB info chain", checks)?;
    let tcb_signer = Signer::judge(&tcb_signer, chain, &lists, at, &signatures, checks)?;
    let same_signer = *tcb_chain == given.qe_identity_issuer_chain;
    let (text, signature) = (&given.tcb_info, &given.tcb_info_signature.0);
    let tcb_info = signed_text(&TCB_INFO, text, signature, &tcb_signer, &signatures, checks)
        .and_then(|text| read_text::<TcbInfo<'_>>(&TCB_INFO, text, checks));
    let mut expires = lists.expires.min(tcb_signer.expires);
    let (text, signature) = (&given.qe_identity, &given.qe_identity_signature.0);
    let text = if same_signer {
        signed_text(&QE_IDENTITY, text, signature, &tcb_signer, &signatures, checks)
    } else {
        let name = "QE identity chain";
        let signer = chain::read_pem(&given.qe_identity_issuer_chain, SIGNER_CERTIFICATES, name, checks)?;
        let signer = Signer::judge(&signer, chain, &lists, at, &signatures, checks)?;
        expires = expires.min(signer.expires);
        signed_text(&QE_IDENTITY, text, signature, &signer, &signatures, checks)
    };
    let qe_identity = text.and_then(|text| read_text::<QeIdentity<'_>>(&QE_IDENTITY, text, checks));
    let (tcb_info, qe_identity) = (tcb_info?, qe_identity?);
    let mut current = record_dates(&TCB_INFO, tcb_info.issue_date, tcb_info.next_update, at, checks);
    current &= record_dates(&QE_IDENTITY, qe_identity.issue_date, qe_identity.next_update, at, checks);
    expires = expires.min(tcb_info.next_update).min(qe_identity.next_update);
    if !current || !lists.sound {
        return None;
    }
    signatures.keep();
    Some(Collateral { tcb_info, qe_identity, expires })
}

/// The signatures of collateral: of both lists, of both signers' certificates and of both texts. The root's key verifies all
/// but the list of PCK certificates, which the PCK CA's does, and the texts, which the signers' do.
fn signatures<'c>(given: &TdxCollateral, chain: &Chain<'_>, cache: Option<&'c ChainCache>) -> Signatures<'c> {
    let parts = [
        b"tdx collateral",
        chain.root_der,
        chain.ca_der,
        &given.root_ca_crl.0,
        &given.pck_crl.0,
        given.tcb_info_issuer_chain.as_bytes(),
        given.tcb_info.as_bytes(),
        &given.tcb_info_signature.0,
        given.qe_identity_issuer_chain.as_bytes(),
        given.qe_identity.as_bytes(),
        &given.qe_identity_signature.0,
    ];
    Signatures::of(cache, &parts)
}

/// The two revocation lists.
struct Lists<'a> {
    root: RevocationList<'a>,
    /// Whether both are signed and current and name neither PCK certificate nor PCK CA.
    sound: bool,
    expires: Timestamp,
}

impl<'a> Lists<'a> {
    fn judge(
        given: &'a TdxCollateral,
        chain: &Chain<'_>,
        at: Timestamp,
        signatures: &Signatures<'_>,
        checks: &mut Checks,
    ) -> Option<Self> {
        let root = read_list(&given.root_ca_crl.0, "root list", checks)?;
        let pck = read_list(&given.pck_crl.0, "PCK list", checks)?;
        let name = "PCK list chain";
        let issuer = chain::read_pem(&given.pck_crl_issuer_chain, SIGNER_CERTIFICATES, name, checks)?;
        let [issuer, last] = issuer.as_slice() else { return None };
        let mut sound = chain::record_anchor(last, chain.root_der, name, checks);
        let issuer = chain::read_certificate(issuer, name, checks)?;
        // The list is verified with the key of the quote's CA below, so equal names and keys make the two one authority.
        let same = issuer.subject == chain.ca.subject && issuer.public_key_info == chain.ca.public_key_info;
        let observed = if same { "it is" } else { "it is another" };
        sound &= checks.record(codes::CRL_ISSUER, same, "the CA of the PCK certificate", observed);
        sound &= record_list(&root, &chain.root, ("root list", at), signatures, checks);
        sound &= record_list(&pck, &chain.ca, ("PCK list", at), signatures, checks);
        sound &= record_revoked(&root, &chain.root, "root", checks);
        sound &= record_revoked(&root, &chain.ca, "PCK CA", checks);
        sound &= record_revoked(&pck, &chain.leaf, "PCK certificate", checks);
        let expires = root.next_update.min(pck.next_update);
        Some(Self { root, sound, expires })
    }
}

fn read_list<'a>(der: &'a [u8], name: &str, checks: &mut Checks) -> Option<RevocationList<'a>> {
    let parsed = RevocationList::parse(der);
    let observed = parsed.as_ref().err().map_or_else(|| "one".to_string(), ToString::to_string);
    let wanted = format!("{name}: a strict X.509 revocation list");
    checks.record(codes::CRL_MALFORMED, parsed.is_ok(), wanted, observed);
    parsed.ok()
}

fn record_list(
    list: &RevocationList<'_>,
    issuer: &Certificate<'_>,
    (name, at): (&str, Timestamp),
    signatures: &Signatures<'_>,
    checks: &mut Checks,
) -> bool {
    let signed = list.issuer == issuer.subject
        && issuer.authority.signs_crls
        && signatures.is_valid(|| list.verify_signature(&issuer.public_key));
    let observed = signatures.observed(signed);
    let mut sound =
        checks.record(codes::CRL_SIGNATURE, signed, format!("{name}: signed by its CA"), observed);
    let window = format!("{} to {}", list.this_update, list.next_update);
    sound &=
        checks.record(codes::CRL_FRESHNESS, list.is_fresh_at(at), format!("{name}: current at {at}"), window);
    sound
}

fn record_revoked(
    list: &RevocationList<'_>,
    certificate: &Certificate<'_>,
    name: &str,
    checks: &mut Checks,
) -> bool {
    let revoked = list.revoked.contains(&certificate.serial);
    let observed = if revoked { "listed" } else { "not listed" };
    checks.record(codes::CERTIFICATE_REVOKED, !revoked, format!("{name}: not listed"), observed)
}

/// Who signed TCB info or QE identity.
struct Signer {
    key: Vec<u8>,
    expires: Timestamp,
}

impl Signer {
    fn judge(
        certificates: &[Vec<u8>],
        chain: &Chain<'_>,
        lists: &Lists<'_>,
        at: Timestamp,
        signatures: &Signatures<'_>,
        checks: &mut Checks,
    ) -> Option<Self> {
        let [signer, last] = certificates else { return None };
        let name = "TCB signer";
        let mut sound = chain::record_anchor(last, chain.root_der, name, checks);
        let signer = chain::read_certificate(signer, name, checks)?;
        let issued = chain::is_issued_by(&signer, &chain.root, signatures);
        let observed = signatures.observed(issued);
        sound &= checks.record(codes::SIGNER_SIGNATURE, issued, "signed by the pinned root", observed);
        sound &= chain::record_name(codes::SIGNER_NAME, &signer, &[SIGNER_NAME], chain.foreign, checks);
        let may = chain::signs_data(&signer, chain.foreign);
        let observed = if may { "one" } else { "another" };
        sound &= checks.record(codes::SIGNER_AUTHORITY, may, "a P-256 key for data, of no CA", observed);
        let window = format!("{} to {}", signer.not_before, signer.not_after);
        let valid = signer.is_valid_at(at);
        sound &= checks.record(codes::SIGNER_VALIDITY, valid, format!("valid at {at}"), window);
        sound &= record_revoked(&lists.root, &signer, name, checks);
        let PublicKey::P256(key) = signer.public_key else { return None };
        sound.then(|| Self { key: key.to_vec(), expires: signer.not_after })
    }
}

/// One kind of signed JSON.
struct Document {
    name: &'static str,
    id: &'static str,
    version: u32,
    signature: Code,
    malformed: Code,
    kind: Code,
    dates: Code,
}

const TCB_INFO: Document = Document {
    name: "TCB info",
    id: "TDX",
    version: 3,
    signature: codes::TCB_INFO_SIGNATURE,
    malformed: codes::TCB_INFO_MALFORMED,
    kind: codes::TCB_INFO_KIND,
    dates: codes::TCB_INFO_DATES,
};
const QE_IDENTITY: Document = Document {
    name: "QE identity",
    id: "TD_QE",
    version: 2,
    signature: codes::QE_IDENTITY_SIGNATURE,
    malformed: codes::QE_IDENTITY_MALFORMED,
    kind: codes::QE_IDENTITY_KIND,
    dates: codes::QE_IDENTITY_DATES,
};

/// The text, if the signer signed exactly it.
fn signed_text<'a>(
    document: &Document,
    text: &'a str,
    signature: &[u8],
    signer: &Signer,
    signatures: &Signatures<'_>,
    checks: &mut Checks,
) -> Option<&'a str> {
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &signer.key);
    let valid = signatures.is_valid(|| key.verify(text.as_bytes(), signature).is_ok());
    let (wanted, observed) = ("signed by the TCB signer, the exact text", signatures.observed(valid));
    checks.record(document.signature, valid, wanted, observed).then_some(text)
}

/// What a signed text says, if it is of the wanted kind.
fn read_text<'a, T: Deserialize<'a>>(document: &Document, text: &'a str, checks: &mut Checks) -> Option<T> {
    let wanted = format!("the JSON of a {}", document.name);
    let malformed =
        |error: serde_json::Error| format!("another, at line {} column {}", error.line(), error.column());
    let kind = serde_json::from_str::<Kind<'_>>(text).map_err(malformed);
    let kind = match kind {
        Ok(kind) => kind,
        Err(observed) => {
            checks.record(document.malformed, false, wanted, observed);
            return None;
        }
    };
    let same = kind.id == document.id && kind.version == document.version && kind.tcb_type == 0;
    let id = if kind.id == document.id { document.id } else { "another id" };
    let observed = format!("{id}, version {}, TCB type {}", kind.version, kind.tcb_type);
    let kind = format!("{}, version {}, TCB type 0", document.id, document.version);
    if !checks.record(document.kind, same, kind, observed) {
        return None;
    }
    let read = serde_json::from_str::<T>(text).map_err(malformed);
    let observed = read.as_ref().err().map_or("it is", String::as_str);
    checks.record(document.malformed, read.is_ok(), wanted, observed);
    read.ok()
}

fn record_dates(
    document: &Document,
    from: Timestamp,
    to: Timestamp,
    at: Timestamp,
    checks: &mut Checks,
) -> bool {
    let current = from <= at && at < to;
    checks.record(document.dates, current, format!("current at {at}"), format!("{from} until {to}"))
}
