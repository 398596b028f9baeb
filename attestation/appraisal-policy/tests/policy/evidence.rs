//! Evidence for cases: software guests, and real samples.

use anchorhold_attester::software::certificate::Extension;
use anchorhold_attester::software::gpu::{
    Board, Chip, Edition, GpuConfig, GpuDevice, RimSigner, RimTemplate, simulated_nvidia_device_root_der,
    simulated_nvidia_rim_root_der,
};
use anchorhold_attester::software::revocation::RevocationTemplate;
use anchorhold_attester::software::tdx::{
    CollateralTemplate, Registers, TdConfig, TdxGuest, simulated_intel_root_der,
};
use anchorhold_attester::software::{
    Authority, Debug, LaunchConfig, MigrationAgent, Product, Signer, SoftwareGuest, SoftwareParavisor,
    certificate, simulated_ark_der,
};
use anchorhold_rats::{
    Der, Endorsements, Evidence, GpuEvidence, Measurement, Nonce, ReportData, TdxCollateral, Timestamp,
};
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};
use serde::Deserialize;
use std::path::PathBuf;

pub(crate) const GPU_NONCE: Nonce = Nonce::new([0x6e; 32]);
const REPORT_DATA: ReportData = ReportData::new([0x7d; 64]);
const MEASUREMENT: Measurement = Measurement::new([0x5a; 48]);
/// The number that the shipped profiles ask for.
const EVALUATION_NUMBER: u32 = 19;

/// What a case is judged on.
pub(crate) struct Made {
    pub(crate) evidence: Evidence,
    pub(crate) endorsements: Endorsements,
    pub(crate) anchors: TrustAnchors,
    /// `None`: what the report has. A sample's is old and public.
    pub(crate) report_data: Option<ReportData>,
}

/// How to make evidence. What is left out is as good evidence has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Recipe {
    /// A software guest on SEV-SNP of this product.
    snp: Option<String>,
    /// A software TD.
    tdx: bool,
    /// A folder of the real samples.
    sample: Option<String>,
    signer: Option<String>,
    /// CSP_ID in the certificate of a provider's key.
    provider: Option<String>,
    debug: bool,
    migration: bool,
    vmpl: u32,
    guest_policy: Option<u64>,
    platform_info: Option<u64>,
    /// Of the reported, committed and launch TCB, in the layout of the product.
    tcb: Option<[u8; 8]>,
    launch_tcb: Option<[u8; 8]>,
    without_crl: bool,
    attributes: Option<u64>,
    evaluation_number: Option<u32>,
    tee_tcb_svn: Option<[u8; 16]>,
    without_event_log: bool,
    paravisor: bool,
    /// One GPU, or a whole board.
    gpus: Option<String>,
    old_driver: bool,
    without_rims: bool,
}

impl Recipe {
    /// The evidence, or `None` where a developer does not have the real samples. CI must have them.
    pub(crate) fn make(&self, at: Timestamp) -> Option<Made> {
        if let Some(sample) = &self.sample {
            let mut made = sample_of(sample)?;
            if self.without_crl {
                made.endorsements.snp_crls.clear();
            }
            return Some(made);
        }
        let roots = SimulatedRoots {
            amd: Some(simulated_ark_der()),
            intel: Some(simulated_intel_root_der()),
            nvidia_device: Some(simulated_nvidia_device_root_der()),
            nvidia_rim: Some(simulated_nvidia_rim_root_der()),
            ..SimulatedRoots::default()
        };
        let paravisor = self.paravisor.then(|| SoftwareParavisor::new().unwrap());
        let report_data = paravisor.as_ref().map_or(REPORT_DATA, SoftwareParavisor::report_data);
        let mut endorsements = Endorsements::default();
        let mut evidence = if self.tdx {
            self.td(at, &report_data, &mut endorsements)
        } else {
            self.snp_guest(at, &report_data, &mut endorsements)
        };
        if let Some(paravisor) = paravisor {
            let added = paravisor.attest(evidence.tee, &evidence.report, REPORT_DATA.as_bytes());
            evidence.paravisor = Some(added.unwrap());
        }
        evidence.gpus = self.devices(at, &mut endorsements);
        let anchors = simulated_anchors(&roots).unwrap();
        Some(Made { evidence, endorsements, anchors, report_data: Some(REPORT_DATA) })
    }

    fn snp_guest(
        &self,
        at: Timestamp,
        report_data: &ReportData,
        endorsements: &mut Endorsements,
    ) -> Evidence {
        let product = match self.snp.as_deref() {
            Some("milan") => Product::Milan,
            Some("genoa") => Product::Genoa,
            Some("turin") => Product::Turin,
            other => panic!("product {other:?}"),
        };
        let mut config = LaunchConfig::for_product(MEASUREMENT, product);
        config.signer = match self.signer.as_deref() {
            None | Some("vcek") => Signer::Vcek,
            Some("vlek") => Signer::Vlek,
            Some(other) => panic!("signer {other}"),
        };
        config.debug = if self.debug { Debug::Allowed } else { Debug::Denied };
        config.migration_agent =
            if self.migration { MigrationAgent::Allowed } else { MigrationAgent::Denied };
        config.vmpl = self.vmpl;
        config.guest_policy = self.guest_policy.unwrap_or(config.guest_policy);
        config.platform_info = self.platform_info.unwrap_or(config.platform_info);
        if let Some(tcb) = self.tcb {
            config.current_tcb = tcb;
            (config.reported_tcb, config.committed_tcb, config.launch_tcb) = (tcb, tcb, tcb);
        }
        config.launch_tcb = self.launch_tcb.unwrap_or(config.launch_tcb);
        if !self.without_crl {
            let list = RevocationTemplate {
                issuer: certificate::name(Authority::Ark.common_name()),
                this_update: at.plus_seconds(-3600),
                next_update: at.plus_seconds(86_400),
                revoked: Vec::new(),
            };
            endorsements.snp_crls.push(Der(list.sign(&Authority::Ark.key().unwrap()).unwrap()));
        }
        let mut guest = SoftwareGuest::launch(config, at).unwrap();
        if let Some(provider) = &self.provider {
            let mut template = guest.template().clone();
            let stated = Extension::amd_text(&[0x05], provider);
            let place = template.extensions.iter_mut().find(|extension| extension.id == stated.id);
            *place.unwrap() = stated;
            guest.certify(template).unwrap();
        }
        guest.attest(report_data).unwrap()
    }

    fn td(&self, at: Timestamp, report_data: &ReportData, endorsements: &mut Endorsements) -> Evidence {
        let mut config = TdConfig::new(MEASUREMENT);
        config.attributes = self.attributes.unwrap_or(config.attributes);
        if let Some(svn) = self.tee_tcb_svn {
            (config.tee_tcb_svn, config.tee_tcb_svn2) = (svn, svn);
        }
        // A paravisor's TD extends no register.
        if self.paravisor {
            config.registers = Registers::Values([[0; 48]; 4]);
        }
        let mut collateral = CollateralTemplate::for_platform(&config.platform, at);
        let number = self.evaluation_number.unwrap_or(EVALUATION_NUMBER);
        collateral.tcb_info.tcb_evaluation_data_number = number;
        collateral.qe_identity.tcb_evaluation_data_number = number;
        endorsements.tdx = Some(collateral.sign().unwrap());
        let mut evidence = TdxGuest::launch(config, at).unwrap().attest(report_data).unwrap();
        if self.without_event_log {
            evidence.event_log = None;
        }
        evidence
    }

    fn devices(&self, at: Timestamp, endorsements: &mut Endorsements) -> Vec<GpuEvidence> {
        let driver = if self.old_driver { "575.32" } else { "590.12" };
        let Some(kind) = &self.gpus else { return Vec::new() };
        let (devices, rims, ocsp) = match kind.as_str() {
            "h100" => {
                let mut config = GpuConfig::new(Chip::Gh100, [0x0b; 8]);
                driver.clone_into(&mut config.driver_version);
                let device = GpuDevice::make(config).unwrap();
                let signer = RimSigner::make(Chip::Gh100, at).unwrap();
                let rim = |edition| {
                    Der(signer.sign(&RimTemplate::of(device.config(), edition).document()).unwrap())
                };
                let rims = vec![rim(Edition::Driver), rim(Edition::Vbios)];
                let mut ocsp = signer.ocsp(at).unwrap();
                let answers = device.ocsp_templates(at).unwrap();
                ocsp.extend(answers.iter().map(|(answer, key)| Der(answer.sign(key).unwrap())));
                (vec![device.evidence(&GPU_NONCE).unwrap()], rims, ocsp)
            }
            "hgx" => {
                let board = Board::make().unwrap();
                let (rims, mut ocsp) = board.rims(at).unwrap();
                ocsp.extend(board.ocsp(at).unwrap());
                (board.evidence(&GPU_NONCE).unwrap(), rims, ocsp)
            }
            other => panic!("gpus {other}"),
        };
        if !self.without_rims {
            endorsements.rims = rims;
        }
        endorsements.ocsp = ocsp;
        devices
    }
}

/// The folder of the real samples, or `None` where a developer does not have it. CI must have it.
pub(crate) fn samples() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evidence"));
    if !folder.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "{} is missing", folder.display());
        eprintln!("skipped: no real samples at {}", folder.display());
        return None;
    }
    Some(folder)
}

fn sample_of(id: &str) -> Option<Made> {
    let folder = samples()?;
    let read = |path: &str| std::fs::read(folder.join(id).join(path));
    let mut endorsements = Endorsements::default();
    let evidence = if id.starts_with("tdx/") {
        endorsements.tdx = Some(TdxCollateral::from_dcap_json(&read("collateral.json").unwrap()).unwrap());
        Evidence::tdx(read("quote.bin").unwrap())
    } else {
        let leaf = ["vcek.der", "vlek.der"].into_iter().find_map(|name| read(name).ok()).unwrap();
        let product = if id.contains("milan") { "milan" } else { "genoa" };
        let list = folder.join("snp/crl").join(format!("{product}.crl"));
        endorsements.snp_crls.push(Der(std::fs::read(list).unwrap()));
        Evidence::snp(read("report.bin").unwrap(), vec![Der(leaf)])
    };
    let anchors = TrustAnchors::production();
    Some(Made { evidence, endorsements, anchors, report_data: None })
}
