//! Machines of every family that the software attester makes out of a table of a case file, with what vendors say of them.

use anchorhold_attester::software::certificate::Extension;
use anchorhold_attester::software::gpu::{
    Board, CertificateStatus, Chip, Edition, GpuConfig, GpuDevice, OcspTemplate, RimSigner, RimTemplate,
    simulated_nvidia_device_root_der, simulated_nvidia_rim_root_der,
};
use anchorhold_attester::software::revocation::RevocationTemplate;
use anchorhold_attester::software::tdx::{
    CollateralTemplate, PlatformFlags, QuoteVersion, Registers, TdConfig, TdxGuest, simulated_intel_root_der,
};
use anchorhold_attester::software::{
    Authority, Debug, LaunchConfig, MigrationAgent, Product, Signer, SigningKey, SoftwareGuest,
    SoftwareParavisor, certificate, simulated_ark_der,
};
use anchorhold_rats::{Der, Endorsements, Evidence, GpuEvidence, Measurement, Nonce, ReportData, Timestamp};
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};
use anchorhold_verifier::x509::Certificate;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What to make. What is left out is as a good machine has it; bytes are in hex, and two digits stand for as many such bytes as there
/// are.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Machine {
    snp: Option<Snp>,
    tdx: Option<Tdx>,
    gpu: Option<Gpus>,
    paravisor: Option<Vtpm>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Snp {
    product: Option<String>,
    measurement: String,
    tcb: Option<[u8; 8]>,
    committed_tcb: Option<[u8; 8]>,
    launch_tcb: Option<[u8; 8]>,
    current_tcb: Option<[u8; 8]>,
    reported_tcb: Option<[u8; 8]>,
    debug: bool,
    migration: bool,
    vmpl: u32,
    guest_svn: u32,
    guest_policy: Option<u64>,
    platform_info: Option<u64>,
    signer: Option<String>,
    provider: Option<String>,
    chip: Option<String>,
    host_data: Option<String>,
    family_id: Option<String>,
    image_id: Option<String>,
    id_key: Option<String>,
    author_key: Option<String>,
    /// Major, minor, build.
    firmware: Option<[u8; 3]>,
    mitigations: Option<u64>,
    without_crl: bool,
    /// The revocation list ended an hour ago.
    stale_crl: bool,
    /// The revocation list names the intermediate above the guest's certificate.
    revoked: bool,
    without_certificates: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tdx {
    mrtd: String,
    rtmrs: [String; 4],
    extended: bool,
    attributes: Option<u64>,
    xfam: Option<u64>,
    mr_seam: Option<String>,
    mr_config_id: Option<String>,
    mr_owner: Option<String>,
    mr_owner_config: Option<String>,
    service_td: Option<String>,
    device_info: Option<String>,
    vm_index: u8,
    ppid: Option<String>,
    dynamic_platform: Option<bool>,
    cached_keys: Option<bool>,
    smt: Option<bool>,
    status: Option<String>,
    advisories: Vec<String>,
    /// Since how many seconds there is a newer level than that of the platform.
    superseded_s: Option<i64>,
    evaluation: Option<u32>,
    padding: usize,
    without_collateral: bool,
    stale_collateral: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Gpus {
    /// `h100`, `gb100` or `hgx`, a whole board.
    kind: String,
    /// Devices that are left out of the evidence, by place.
    missing: Vec<usize>,
    /// A device that takes the place of another: which, and of which.
    twice: Option<[usize; 2]>,
    /// A device that reports for another nonce.
    stale: Option<usize>,
    /// A device whose firmware is not NVIDIA's, as with developer tools.
    debug: Option<usize>,
    /// A device with this feature flag.
    feature: Option<(usize, u16)>,
    /// A device with this status of protected PCIe.
    protected_pcie: Option<(usize, u8)>,
    /// A device that does not state its feature flag, as with old drivers.
    without_feature: Option<usize>,
    /// A device that does not state its firmware, as with old drivers.
    without_fwid: Option<usize>,
    /// A device with links to nowhere.
    unlinked: Option<usize>,
    driver: Option<String>,
    vbios: Option<[u8; 5]>,
    switch_bios: Option<[u8; 5]>,
    /// The identities of the devices, in order.
    pdis: Vec<String>,
    without_rims: bool,
    without_ocsp: bool,
    /// How old the answers about certificates are.
    ocsp_age_s: Option<i64>,
    /// The devices' certificates are on hold; with `rim`, those of manifests.
    hold: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Vtpm {
    pcrs: BTreeMap<String, String>,
    without_pcr: Option<u8>,
    secure_boot: Option<bool>,
    console: Option<bool>,
    vm: Option<String>,
}

/// Evidence, and what vendors say about it.
pub(crate) struct Made {
    pub(crate) evidence: Evidence,
    pub(crate) endorsements: Endorsements,
}

/// The anchors of all simulated machines.
pub(crate) fn anchors() -> TrustAnchors {
    let roots = SimulatedRoots {
        amd: Some(simulated_ark_der()),
        intel: Some(simulated_intel_root_der()),
        nvidia_device: Some(simulated_nvidia_device_root_der()),
        nvidia_rim: Some(simulated_nvidia_rim_root_der()),
        ..SimulatedRoots::default()
    };
    simulated_anchors(&roots).unwrap()
}

/// `N` bytes of hex, or one byte `N` times.
fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    if hex.len() == 2 {
        return [byte(0); N];
    }
    assert_eq!(hex.len(), 2 * N, "{hex}");
    std::array::from_fn(|at| byte(2 * at))
}

fn or<const N: usize>(hex: Option<&String>, default: [u8; N]) -> [u8; N] {
    hex.map_or(default, |hex| bytes(hex))
}

impl Machine {
    /// The machine's devices for a nonce, with what NVIDIA says of them.
    pub(crate) fn devices(&self, nonce: &Nonce, at: Timestamp, into: &mut Endorsements) -> Vec<GpuEvidence> {
        self.gpu.as_ref().map_or_else(Vec::new, |gpus| gpus.make(nonce, at, into))
    }

    /// Evidence for this report data, with these devices.
    pub(crate) fn attest(
        &self,
        report_data: &ReportData,
        gpus: Vec<GpuEvidence>,
        mut endorsements: Endorsements,
        at: Timestamp,
    ) -> Made {
        let paravisor = self.paravisor.as_ref().map(Vtpm::make);
        let of_tee = paravisor.as_ref().map_or(*report_data, SoftwareParavisor::report_data);
        let mut evidence = match (&self.snp, &self.tdx) {
            (Some(snp), None) => snp.make(&of_tee, at, &mut endorsements),
            (None, Some(tdx)) => tdx.make(&of_tee, at, &mut endorsements),
            _ => panic!("one of snp and tdx"),
        };
        if let Some(paravisor) = paravisor {
            let added = paravisor.attest(evidence.tee, &evidence.report, report_data.as_bytes());
            evidence.paravisor = Some(added.unwrap());
        }
        evidence.gpus = gpus;
        Made { evidence, endorsements }
    }
}

impl Snp {
    fn launch(&self) -> LaunchConfig {
        let product = match self.product.as_deref() {
            Some("milan") => Product::Milan,
            None | Some("genoa") => Product::Genoa,
            Some("turin") => Product::Turin,
            Some(other) => panic!("product {other}"),
        };
        let mut config = LaunchConfig::for_product(Measurement::new(bytes(&self.measurement)), product);
        if let Some(tcb) = self.tcb {
            config.current_tcb = tcb;
            (config.reported_tcb, config.committed_tcb, config.launch_tcb) = (tcb, tcb, tcb);
        }
        config.current_tcb = self.current_tcb.unwrap_or(config.current_tcb);
        config.reported_tcb = self.reported_tcb.unwrap_or(config.reported_tcb);
        config.committed_tcb = self.committed_tcb.unwrap_or(config.committed_tcb);
        config.launch_tcb = self.launch_tcb.unwrap_or(config.launch_tcb);
        config.debug = if self.debug { Debug::Allowed } else { Debug::Denied };
        config.migration_agent =
            if self.migration { MigrationAgent::Allowed } else { MigrationAgent::Denied };
        (config.vmpl, config.guest_svn) = (self.vmpl, self.guest_svn);
        config.guest_policy = self.guest_policy.unwrap_or(config.guest_policy);
        config.platform_info = self.platform_info.unwrap_or(config.platform_info);
        config.signer = match self.signer.as_deref() {
            None | Some("vcek") => Signer::Vcek,
            Some("vlek") => Signer::Vlek,
            Some(other) => panic!("signer {other}"),
        };
        config.chip_id = self.chip.as_deref().map(bytes);
        config.host_data = or(self.host_data.as_ref(), config.host_data);
        config.family_id = or(self.family_id.as_ref(), config.family_id);
        config.image_id = or(self.image_id.as_ref(), config.image_id);
        config.id_key_digest = or(self.id_key.as_ref(), config.id_key_digest);
        config.author_key_digest = self.author_key.as_deref().map(bytes);
        if let Some([major, minor, build]) = self.firmware {
            config.firmware_version = [build, minor, major];
        }
        config.mitigations = self.mitigations.unwrap_or(config.mitigations);
        config
    }

    fn make(&self, report_data: &ReportData, at: Timestamp, into: &mut Endorsements) -> Evidence {
        let mut guest = SoftwareGuest::launch(self.launch(), at).unwrap();
        let mut template = guest.template().clone();
        if let Some(provider) = &self.provider {
            let stated = Extension::amd_text(&[0x05], provider);
            let place = template.extensions.iter_mut().find(|extension| extension.id == stated.id);
            *place.unwrap() = stated;
        }
        guest.certify(template).unwrap();
        if !self.without_crl {
            let ask = Certificate::parse(Authority::Ask.certificate_der()).unwrap();
            let end = if self.stale_crl { -3600 } else { 86_400 };
            let list = RevocationTemplate {
                issuer: certificate::name(Authority::Ark.common_name()),
                this_update: at.plus_seconds(-7200),
                next_update: at.plus_seconds(end),
                revoked: if self.revoked { vec![ask.serial.to_vec()] } else { Vec::new() },
            };
            into.snp_crls.push(Der(list.sign(&Authority::Ark.key().unwrap()).unwrap()));
        }
        let mut evidence = guest.attest(report_data).unwrap();
        if self.without_certificates {
            evidence.certificates.clear();
        }
        evidence
    }
}

impl Tdx {
    fn config(&self) -> TdConfig {
        let mut config = TdConfig::new(Measurement::new(bytes(&self.mrtd)));
        let rtmr = |hex: &String| if hex.is_empty() { [0; 48] } else { bytes(hex) };
        let [a, b, c, d] = &self.rtmrs;
        config.registers = Registers::Values([rtmr(a), rtmr(b), rtmr(c), rtmr(d)]);
        if self.extended {
            config.version = QuoteVersion::V5Td15Ex;
        }
        config.attributes = self.attributes.unwrap_or(config.attributes);
        config.xfam = self.xfam.unwrap_or(config.xfam);
        config.mr_seam = or(self.mr_seam.as_ref(), config.mr_seam);
        config.mr_config_id = or(self.mr_config_id.as_ref(), config.mr_config_id);
        config.mr_owner = or(self.mr_owner.as_ref(), config.mr_owner);
        config.mr_owner_config = or(self.mr_owner_config.as_ref(), config.mr_owner_config);
        config.mr_service_td = or(self.service_td.as_ref(), config.mr_service_td);
        config.td15_ex.device_info = or(self.device_info.as_ref(), config.td15_ex.device_info);
        config.td15_ex.vm_id = self.vm_index;
        config.platform.ppid = or(self.ppid.as_ref(), config.platform.ppid);
        let flags = config.platform.flags.unwrap();
        config.platform.flags = Some(PlatformFlags {
            dynamic_platform: self.dynamic_platform.unwrap_or(flags.dynamic_platform),
            cached_keys: self.cached_keys.unwrap_or(flags.cached_keys),
            smt_enabled: self.smt.unwrap_or(flags.smt_enabled),
        });
        config
    }

    fn make(&self, report_data: &ReportData, at: Timestamp, into: &mut Endorsements) -> Evidence {
        let config = self.config();
        if !self.without_collateral {
            let issued = if self.stale_collateral { at.plus_seconds(-60 * 86_400) } else { at };
            let mut collateral = CollateralTemplate::for_platform(&config.platform, issued);
            if let Some(number) = self.evaluation {
                collateral.tcb_info.tcb_evaluation_data_number = number;
                collateral.qe_identity.tcb_evaluation_data_number = number;
            }
            let level = &mut collateral.tcb_info.tcb_levels[0];
            if let Some(status) = &self.status {
                level.tcb_status.clone_from(status);
            }
            level.advisory_ids.clone_from(&self.advisories);
            if let Some(seconds) = self.superseded_s {
                // A level that the platform does not meet, and that is newer by its date.
                let mut newer = level.clone();
                newer.tcb_date = at.plus_seconds(-seconds).to_string();
                newer.tcb_status = "UpToDate".to_owned();
                newer.advisory_ids.clear();
                newer.tcb.pce_svn += 1;
                collateral.tcb_info.tcb_levels.insert(0, newer);
            }
            into.tdx = Some(collateral.sign().unwrap());
        }
        let mut evidence = TdxGuest::launch(config, at).unwrap().attest(report_data).unwrap();
        evidence.report.resize(evidence.report.len() + self.padding, 0);
        evidence
    }
}

impl Gpus {
    fn board(&self) -> Vec<GpuDevice> {
        let mut devices = match self.kind.as_str() {
            "h100" => vec![GpuDevice::make(GpuConfig::new(Chip::Gh100, self.pdi(0))).unwrap()],
            "gb100" => vec![GpuDevice::make(GpuConfig::new(Chip::Gb100, self.pdi(0))).unwrap()],
            "hgx" => {
                let Board { mut gpus, mut switches } = Board::make().unwrap();
                gpus.append(&mut switches);
                gpus
            }
            other => panic!("gpus {other}"),
        };
        for (place, device) in devices.iter_mut().enumerate() {
            let is_switch = device.config().chip == Chip::Ls10;
            let config = device.config_mut();
            if let (false, Some(driver)) = (is_switch, &self.driver) {
                config.driver_version.clone_from(driver);
            }
            let bios = if is_switch { self.switch_bios } else { self.vbios };
            config.vbios_version = bios.unwrap_or(config.vbios_version);
            if let Some((at, flag)) = self.feature.filter(|(at, _)| *at == place) {
                assert_eq!(at, place);
                config.feature = Some(flag);
            }
            if let Some((_, status)) = self.protected_pcie.filter(|(at, _)| *at == place) {
                config.protected_pcie = Some(status);
            }
            if self.without_feature == Some(place) {
                config.feature = None;
            }
            if self.without_fwid == Some(place) {
                config.fwid = None;
            }
            if self.unlinked == Some(place) {
                config.links = config.links.map(|_| [[0; 8]; 18]);
            }
        }
        devices
    }

    fn pdi(&self, place: usize) -> [u8; 8] {
        self.pdis.get(place).map_or([0x0b; 8], |hex| bytes(hex))
    }

    fn make(&self, nonce: &Nonce, at: Timestamp, into: &mut Endorsements) -> Vec<GpuEvidence> {
        let mut devices = self.board();
        if !self.without_rims {
            self.rims(&devices, at, into);
        }
        // After the manifests, which are NVIDIA's.
        if let Some(place) = self.debug {
            devices[place].config_mut().measurements[0] = [0xdb; 48];
        }
        if !self.without_ocsp {
            let templates: Vec<_> =
                devices.iter().flat_map(|device| device.ocsp_templates(at).unwrap()).collect();
            let hold = self.hold.as_deref() == Some("device");
            self.answers(templates, hold, at, into);
        }
        let other = Nonce::new([0x5e; 32]);
        let nonce = |place| if self.stale == Some(place) { &other } else { nonce };
        let mut evidence: Vec<_> =
            (0..).zip(&devices).map(|(at, one)| one.evidence(nonce(at)).unwrap()).collect();
        if let Some([from, to]) = self.twice {
            evidence[to] = evidence[from].clone();
        }
        for place in self.missing.iter().rev() {
            evidence.remove(*place);
        }
        evidence
    }

    fn rims(&self, devices: &[GpuDevice], at: Timestamp, into: &mut Endorsements) {
        let kinds: [(&[Chip], &[Edition]); 2] = [
            (&[Chip::Gh100, Chip::Gb100], &[Edition::Driver, Edition::Vbios]),
            (&[Chip::Ls10], &[Edition::SwitchBios]),
        ];
        for (chips, editions) in kinds {
            let Some(device) = devices.iter().find(|device| chips.contains(&device.config().chip)) else {
                continue;
            };
            let signer = RimSigner::make(device.config().chip, at).unwrap();
            for edition in editions {
                let document = RimTemplate::of(device.config(), *edition).document();
                into.rims.push(Der(signer.sign(&document).unwrap()));
            }
            if !self.without_ocsp {
                let hold = self.hold.as_deref() == Some("rim");
                self.answers(signer.ocsp_templates(at).unwrap().into(), hold, at, into);
            }
        }
    }

    /// Answers about certificates, each once.
    fn answers(
        &self,
        templates: Vec<(OcspTemplate, SigningKey)>,
        hold: bool,
        at: Timestamp,
        into: &mut Endorsements,
    ) {
        let mut seen = Vec::new();
        for (mut answer, key) in templates {
            let serial = answer.entries[0].serial.clone();
            if seen.contains(&serial) {
                continue;
            }
            seen.push(serial);
            let entry = &mut answer.entries[0];
            if let Some(age) = self.ocsp_age_s {
                entry.this_update = at.plus_seconds(-age);
                entry.next_update = Some(at.plus_seconds(86_400));
                answer.produced = entry.this_update;
            }
            if hold {
                let since = at.plus_seconds(-86_400);
                answer.entries[0].status = CertificateStatus::Revoked { at: since, reason: Some(6) };
            }
            into.ocsp.push(Der(answer.sign(&key).unwrap()));
        }
    }
}

impl Vtpm {
    fn make(&self) -> SoftwareParavisor {
        let mut paravisor = SoftwareParavisor::new().unwrap();
        for (pcr, value) in &self.pcrs {
            paravisor.pcrs[pcr.parse::<usize>().unwrap()].1 = bytes(value);
        }
        paravisor.pcrs.retain(|(pcr, _)| Some(*pcr) != self.without_pcr);
        let mut say = |key: &str, default: &str, value: Option<String>| {
            if let Some(value) = value {
                let from = format!("\"{key}\":{default}");
                assert!(paravisor.claims.contains(&from), "{from}");
                paravisor.claims = paravisor.claims.replace(&from, &format!("\"{key}\":{value}"));
            }
        };
        say("secure-boot", "true", self.secure_boot.map(|on| on.to_string()));
        say("console-enabled", "true", self.console.map(|on| on.to_string()));
        let vm = self.vm.as_ref().map(|vm| format!("\"{vm}\""));
        say("vmUniqueId", "\"00000000-0000-4000-8000-51513C1A7ED0\"", vm);
        paravisor
    }
}
