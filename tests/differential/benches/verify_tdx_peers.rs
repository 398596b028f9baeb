//! Time of one verification of a version 5 quote with its collateral: ours (authenticate and appraise), dcap-qvl 0.7.1's
//! with its ring backend, and the nine ECDSA P-256 verifications alone, in turn in each round.

use anchorhold_attester::software::tdx::{TdConfig, TdxGuest, simulated_intel_root_der};
use anchorhold_rats::{Measurement, ReportData, TdxCollateral, Timestamp};
use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use anchorhold_verifier::tdx::{ChainCache, Input, Policy, appraise, authenticate, authenticate_with_cache};
use anchorhold_verifier::x509::{Certificate, PublicKey, RevocationList};
use anchorhold_verifier::{TrustAnchors, pem};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rounds::{Comparison, Run, medians_ns, report};
use std::error::Error;
use std::hint::black_box;

#[path = "../../../attestation/verifier/benches/rounds/mod.rs"]
mod rounds;

const ROUNDS: usize = 500;
const REPORT_DATA: ReportData = ReportData::new([9; 64]);

struct Subject {
    quote: Vec<u8>,
    /// How many bytes of the quote the attestation key signs.
    signed: usize,
    collateral: TdxCollateral,
    anchors: TrustAnchors,
    policy: Policy,
    at: Timestamp,
}

fn subject() -> Result<Subject, Box<dyn Error>> {
    let at: Timestamp = "2026-07-25T00:00:00Z".parse()?;
    let mrtd = Measurement::new([7; 48]);
    let guest = TdxGuest::launch(TdConfig::new(mrtd), at)?;
    let roots = SimulatedRoots { intel: Some(simulated_intel_root_der()), ..SimulatedRoots::default() };
    Ok(Subject {
        quote: guest.quote(&REPORT_DATA)?,
        signed: guest.fields(&REPORT_DATA).encode().len(),
        collateral: guest.collateral(at)?,
        anchors: dangerous::simulated_anchors(&roots)?,
        policy: dangerous::allow_simulated(Policy::strict(vec![mrtd])),
        at,
    })
}

fn ours(subject: &Subject) -> Run<'_> {
    let run = move || {
        let input = Input { quote: black_box(&subject.quote), collateral: Some(&subject.collateral) };
        let authentic = authenticate(&input, &subject.anchors, subject.at)?;
        black_box(appraise(authentic, &subject.policy, &REPORT_DATA)?);
        Ok(())
    };
    ("verify_tdx", Box::new(run))
}

/// The same with chain and collateral remembered, as for every quote of a platform but the first.
fn warm<'a>(subject: &'a Subject, cache: &'a ChainCache) -> Run<'a> {
    let run = move || {
        let input = Input { quote: black_box(&subject.quote), collateral: Some(&subject.collateral) };
        let authentic = authenticate_with_cache(&input, &subject.anchors, subject.at, cache)?;
        black_box(appraise(authentic, &subject.policy, &REPORT_DATA)?);
        Ok(())
    };
    ("verify_tdx_warm", Box::new(run))
}

/// What its callers call: signatures, chains, revocation, TCB level; then the status is looked at.
fn dcap_qvl(subject: &Subject) -> Result<Run<'_>, Box<dyn Error>> {
    let ours = subject.collateral.clone();
    let collateral = QuoteCollateralV3 {
        pck_crl_issuer_chain: ours.pck_crl_issuer_chain,
        root_ca_crl: ours.root_ca_crl.0,
        pck_crl: ours.pck_crl.0,
        tcb_info_issuer_chain: ours.tcb_info_issuer_chain,
        tcb_info: ours.tcb_info,
        tcb_info_signature: ours.tcb_info_signature.0,
        qe_identity_issuer_chain: ours.qe_identity_issuer_chain,
        qe_identity: ours.qe_identity,
        qe_identity_signature: ours.qe_identity_signature.0,
        pck_certificate_chain: None,
    };
    let verifier = QuoteVerifier::new(simulated_intel_root_der().to_vec());
    let seconds = u64::try_from(subject.at.unix_seconds())?;
    let run = move || {
        let report = verifier
            .verify(black_box(&subject.quote), &collateral, seconds)
            .map_err(|error| format!("{error:#}"))?;
        if report.status == "UpToDate" { Ok(()) } else { Err(report.status.into()) }
    };
    Ok(("dcap_qvl_verify", Box::new(run)))
}

/// A key with what it signed in the form of quotes and collateral.
struct Fixed {
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl Fixed {
    fn verify(&self) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.key);
        key.verify(black_box(&self.message), &self.signature).is_ok()
    }
}

/// The point of a certificate on P-256.
fn point(certificate: &Certificate<'_>) -> Result<Vec<u8>, Box<dyn Error>> {
    match certificate.public_key {
        PublicKey::P256(point) => Ok(point.to_vec()),
        _ => Err("a key on P-256".into()),
    }
}

/// The four signatures that are not of X.509: of quote, QE report, TCB info and QE identity.
fn fixed(subject: &Subject, pck: Vec<u8>, signer: Vec<u8>) -> Result<[Fixed; 4], Box<dyn Error>> {
    let (message, data) = subject.quote.split_at(subject.signed);
    let part = |start: usize, length: usize| data.get(start..start + length).ok_or("a whole quote");
    // Length (4), signature, key, type (2), length (4), QE report, its signature.
    let attestation_key = [&[4], part(68, 64)?].concat();
    let quote = Fixed { key: attestation_key, message: message.to_vec(), signature: part(4, 64)?.to_vec() };
    let enclave = Fixed { key: pck, message: part(138, 384)?.to_vec(), signature: part(522, 64)?.to_vec() };
    let of_signer = |text: &str, signature: &[u8]| Fixed {
        key: signer.clone(),
        message: text.as_bytes().to_vec(),
        signature: signature.to_vec(),
    };
    let collateral = &subject.collateral;
    let tcb_info = of_signer(&collateral.tcb_info, &collateral.tcb_info_signature.0);
    let identity = of_signer(&collateral.qe_identity, &collateral.qe_identity_signature.0);
    Ok([quote, enclave, tcb_info, identity])
}

/// The certificates that the quote and the TCB info bring, DER.
fn certificates(subject: &Subject) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    const BEGIN: &[u8] = b"-----BEGIN";
    let start = subject.quote.windows(BEGIN.len()).position(|window| window == BEGIN).ok_or("a chain")?;
    let text = String::from_utf8_lossy(subject.quote.get(start..).ok_or("a chain")?).into_owned();
    let mut all = pem::read(text.trim_end_matches('\0'), 3)?;
    all.extend(pem::read(&subject.collateral.tcb_info_issuer_chain, 2)?);
    Ok(all)
}

/// Only the signatures, with everything read beforehand.
fn signatures<'a>(subject: &'a Subject, certificates: &'a [Vec<u8>]) -> Result<Run<'a>, Box<dyn Error>> {
    let [leaf, ca, root, signer, _] = certificates else { return Err("five certificates".into()) };
    let read = |der: &'a Vec<u8>| Certificate::parse(der);
    let (leaf, ca, root, signer) = (read(leaf)?, read(ca)?, read(root)?, read(signer)?);
    let root_list = RevocationList::parse(&subject.collateral.root_ca_crl.0)?;
    let pck_list = RevocationList::parse(&subject.collateral.pck_crl.0)?;
    let fixed = fixed(subject, point(&leaf)?, point(&signer)?)?;
    let run = move || {
        let (root, ca_key) = (&root.public_key, &ca.public_key);
        let chained =
            ca.verify_signature(root) && leaf.verify_signature(ca_key) && signer.verify_signature(root);
        let listed = root_list.verify_signature(root) && pck_list.verify_signature(ca_key);
        let signed = fixed.iter().all(Fixed::verify);
        if chained && listed && signed { Ok(()) } else { Err("a signature".into()) }
    };
    Ok(("verify_tdx_signatures", Box::new(run)))
}

fn main() -> Result<(), Box<dyn Error>> {
    let subject = subject()?;
    let certificates = certificates(&subject)?;
    let cache = ChainCache::new(16);
    let runs =
        [ours(&subject), warm(&subject, &cache), dcap_qvl(&subject)?, signatures(&subject, &certificates)?];
    let medians_ns = medians_ns(&runs, ROUNDS)?;
    let [ours, warm, theirs, signatures] = medians_ns.as_slice() else { return Err("four medians".into()) };
    let compare = |name, peer, peer_ns: &u128| Comparison { name, median_ns: *ours, peer, peer_ns: *peer_ns };
    let warm = Comparison {
        name: "verify_tdx_warm_median",
        median_ns: *warm,
        peer: "the same, cold",
        peer_ns: *ours,
    };
    report(&[
        compare("verify_tdx_median", "dcap-qvl 0.7.1, ring", theirs),
        compare("verify_tdx_median_to_signatures", "its nine signatures", signatures),
        warm,
    ])
}
