//! Evidence and endorsements under the simulated roots, and a store for them.

use crate::script::{Script, Step, answer, good, with_header};
use anchorhold_attester::software::certificate::name;
use anchorhold_attester::software::revocation::RevocationTemplate;
use anchorhold_attester::software::tdx::{TdConfig, TdxGuest, simulated_intel_root_der};
use anchorhold_attester::software::{Authority, LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_endorsements::{Cache, CacheLimits, Config, EndorsementStore, Item, Transport, rim_ids};
use anchorhold_rats::{Evidence, Measurement, ReportData, TdxCollateral, Timestamp};
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};
use std::path::Path;
use tempfile::TempDir;

pub(crate) const DAY: i64 = 24 * 3600;

/// The time of all tests, plus `seconds`.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_civil((2026, 1, 10), (0, 0, 0)).unwrap().plus_seconds(seconds)
}

/// A Genoa guest whose host sent no certificates, with what AMD would say about it.
pub(crate) struct Snp {
    pub(crate) evidence: Evidence,
    pub(crate) vcek: Vec<u8>,
    pub(crate) crl: Vec<u8>,
    pub(crate) vcek_path: String,
}

pub(crate) const CRL_PATH: &str = "/vcek/v1/Genoa/crl";
pub(crate) const CHAIN_PATH: &str = "/vcek/v1/Genoa/cert_chain";
/// How long the simulated revocation list lasts.
pub(crate) const CRL_DAYS: i64 = 30;

impl Snp {
    pub(crate) fn new() -> Self {
        let guest = SoftwareGuest::launch(LaunchConfig::new(Measurement::new([1; 48])), at(0)).unwrap();
        let full = guest.attest(&ReportData::new([2; 64])).unwrap();
        let list = RevocationTemplate {
            issuer: name(Authority::Ark.common_name()),
            this_update: at(0),
            next_update: at(CRL_DAYS * DAY),
            revoked: Vec::new(),
        };
        let evidence = Evidence::snp(full.report, Vec::new());
        let planned = anchorhold_endorsements::plan(&evidence, &rim_ids(&evidence), &Config::production());
        Self {
            vcek: full.certificates[0].0.clone(),
            crl: list.sign(&Authority::Ark.key().unwrap()).unwrap(),
            vcek_path: planned.unwrap()[0].item.path(),
            evidence,
        }
    }

    pub(crate) fn serve(&self, script: &Script) {
        script.set(&self.vcek_path, [good(&self.vcek)]);
        script.set(CRL_PATH, [good(&self.crl)]);
        script.set(CHAIN_PATH, [good(chain_pem().as_bytes())]);
    }

    /// The paths of its two items, sorted.
    pub(crate) fn paths(&self) -> [&str; 2] {
        let mut paths = [self.vcek_path.as_str(), CRL_PATH];
        paths.sort_unstable();
        paths
    }
}

pub(crate) fn pem(der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
}

fn chain_pem() -> String {
    pem(Authority::Ask.certificate_der()) + &pem(simulated_ark_der())
}

pub(crate) fn tdx() -> (Evidence, TdxCollateral) {
    let guest = TdxGuest::launch(TdConfig::new(Measurement::new([1; 48])), at(0)).unwrap();
    (guest.attest(&ReportData::new([2; 64])).unwrap(), guest.collateral(at(0)).unwrap())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As Intel's service writes PEM into a header field.
pub(crate) fn percent_encode(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.chars().map(|c| if plain(c) { c.to_string() } else { format!("%{:02X}", u32::from(c)) }).collect()
}

/// Path, body, and the header field with the issuer chain.
pub(crate) type IntelAnswer = (String, Vec<u8>, Option<(&'static str, String)>);

/// What Intel would answer about each item of a platform.
pub(crate) fn intel_answers(tdx: &TdxCollateral, items: &[Item]) -> Vec<IntelAnswer> {
    let signed = |name: &str, text: &str, signature: &[u8]| {
        format!("{{\"{name}\":{text},\"signature\":\"{}\"}}", hex(signature)).into_bytes()
    };
    let one = |item: &Item| {
        let (body, header) = match item {
            Item::TcbInfo { .. } => (
                signed("tcbInfo", &tdx.tcb_info, &tdx.tcb_info_signature.0),
                Some(("tcb-info-issuer-chain", &tdx.tcb_info_issuer_chain)),
            ),
            Item::QeIdentity { .. } => (
                signed("enclaveIdentity", &tdx.qe_identity, &tdx.qe_identity_signature.0),
                Some(("sgx-enclave-identity-issuer-chain", &tdx.qe_identity_issuer_chain)),
            ),
            Item::PckCrl { .. } => {
                (tdx.pck_crl.0.clone(), Some(("sgx-pck-crl-issuer-chain", &tdx.pck_crl_issuer_chain)))
            }
            _ => (tdx.root_ca_crl.0.clone(), None),
        };
        (item.path(), body, header.map(|(name, chain)| (name, percent_encode(chain))))
    };
    items.iter().map(one).collect()
}

/// Serves all of a platform's collateral.
pub(crate) fn serve_intel(script: &Script, evidence: &Evidence, tdx: &TdxCollateral) {
    let items: Vec<_> = anchorhold_endorsements::plan(evidence, &[], &Config::production())
        .unwrap()
        .into_iter()
        .map(|wanted| wanted.item)
        .collect();
    for (path, body, header) in intel_answers(tdx, &items) {
        let plain = answer(200, &body);
        let full = match header {
            Some((name, value)) => with_header(plain, name, &value),
            None => plain,
        };
        script.set(path, [Step::Answer(full.clone())]);
        script.set("/IntelSGXRootCA.der", [good(&tdx.root_ca_crl.0)]);
    }
}

pub(crate) fn open_cache(folder: &Path) -> Cache {
    Cache::open(folder.join("cache"), CacheLimits::default()).unwrap()
}

/// A store with an empty cache. The folder goes away with the first value.
pub(crate) fn store<T: Transport>(config: Config, transport: T) -> (TempDir, EndorsementStore<T>) {
    let folder = tempfile::tempdir().unwrap();
    let store = EndorsementStore::new(config, transport, open_cache(folder.path()));
    (folder, store)
}

pub(crate) fn anchors() -> TrustAnchors {
    let (amd, intel) = (Some(simulated_ark_der()), Some(simulated_intel_root_der()));
    simulated_anchors(&SimulatedRoots { amd, intel, ..SimulatedRoots::default() }).unwrap()
}
