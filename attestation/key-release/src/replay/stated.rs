//! Recorded claims as what the verifier's rules judge, and policies as what those claims can be held to.

use super::{Machines, Unreadable};
use crate::PseudonymKey;
use anchorhold_audit_log::Claim;
use anchorhold_audit_log::claims::{
    Claims, GpuArchitecture, GpuClaims, GpuMode, OcspClaims, ParavisorClaims, SnpClaims, SnpProduct,
    SnpSigner, Td15Claims, TdxClaims, TeeClaims, TpmClaims,
};
use anchorhold_rats::{Measurement, Nonce, ReportData, Sha256Digest, Timestamp};
use anchorhold_verifier::azure::{self, VmConfiguration, VmId};
use anchorhold_verifier::nvidia::{
    self, Answer, Architecture, GPU_LINKS, GpuFields, Kind, Mode, OpaqueFields, Pdi, SWITCH_GPUS,
    SWITCH_PORTS, Standing, Subject, SwitchFields, VbiosVersion,
};
use anchorhold_verifier::snp::{
    self, ChipId, FirmwareVersion, GuestPolicy, MitigationVectors, PlatformInfo, Product, RawTcb, Report,
    Signer, SigningKey,
};
use anchorhold_verifier::tdx::{
    self, Pck, PlatformId, PlatformLevels, SgxType, Tcb, TcbLevel, TcbStatus, Td15, Td15Extended,
    TdAttributes, TdBody, Xfam,
};
use anchorhold_verifier::tpm::{self, KeyName, PcrLog};
use anchorhold_verifier::{AppraisalPolicy, Stated, StatedTee};
use std::collections::BTreeMap;

const NONE: [u8; 48] = [0; 48];
const REPORT_DATA: ReportData = ReportData::new([0; ReportData::LEN]);

/// Everything that [`Stated`] borrows. What no rule judges is zero.
pub(super) struct Parts {
    tee: Tee,
    paravisor: Option<Vtpm>,
    tpm: Option<Tpm>,
    gpus: Vec<Device>,
    simulated: bool,
}

struct Tpm {
    key: KeyName,
    pcrs: BTreeMap<u8, [u8; 32]>,
    log: Option<PcrLog>,
    root: Option<Sha256Digest>,
}

enum Tee {
    Snp {
        report: Box<Report>,
        product: Product,
        signer: Signer,
        chip: Option<ChipId>,
        provider: Option<String>,
        crl: bool,
    },
    Tdx {
        body: Box<TdBody>,
        pck: Box<Pck>,
        tcb: Box<Tcb>,
        padding: usize,
        at: Timestamp,
    },
}

struct Vtpm {
    pcrs: BTreeMap<u8, [u8; 32]>,
    vm: VmConfiguration,
}

struct Device {
    architecture: Architecture,
    pdi: Pdi,
    fields: OpaqueFields,
    missing_rims: Vec<String>,
    answers: Vec<Answer>,
}

impl Parts {
    pub(super) fn of(claims: &Claims, at: Timestamp) -> Result<Self, Unreadable> {
        let tee = match &claims.tee {
            TeeClaims::Snp(snp) => of_snp(snp),
            TeeClaims::Tdx(tdx) => of_tdx(tdx, at)?,
        };
        let paravisor = claims.paravisor.as_ref().map(of_paravisor).transpose()?;
        let tpm = claims.tpm.as_ref().map(of_tpm);
        let identities: Vec<_> =
            claims.gpus.iter().map(|gpu| (kind(gpu.architecture), Pdi(*gpu.device.as_bytes()))).collect();
        let gpus = claims.gpus.iter().map(|gpu| of_gpu(gpu, &identities)).collect::<Result<_, _>>()?;
        Ok(Self { tee, paravisor, tpm, gpus, simulated: claims.simulated })
    }

    pub(super) fn stated(&self) -> Stated<'_> {
        let tee = match &self.tee {
            Tee::Snp { report, product, signer, chip, provider, crl } => StatedTee::Snp(snp::Stated {
                report,
                product: *product,
                signer: *signer,
                chip_id: *chip,
                provider: provider.as_deref(),
                crl_judged: *crl,
            }),
            Tee::Tdx { body, pck, tcb, padding, at } => {
                StatedTee::Tdx(tdx::Stated { body, body_offset: None, padding: *padding, pck, tcb, at: *at })
            }
        };
        let paravisor = self.paravisor.as_ref().map(|vtpm| azure::Stated {
            pcrs: &vtpm.pcrs,
            vm: &vtpm.vm,
            nonce: REPORT_DATA.as_bytes(),
            report_data: REPORT_DATA,
        });
        let tpm = self.tpm.as_ref().map(|tpm| tpm::Stated {
            key: tpm.key,
            pcrs: &tpm.pcrs,
            log: tpm.log.as_ref(),
            root: tpm.root,
            nonce: REPORT_DATA.as_bytes(),
        });
        let gpus = self.gpus.iter().map(|device| nvidia::Stated {
            nonce: Nonce::new([0; Nonce::LEN]),
            architecture: device.architecture,
            pdi: device.pdi,
            fields: &device.fields,
            missing_rims: &device.missing_rims,
            answers: &device.answers,
        });
        Stated { tee, event_log: None, paravisor, tpm, gpus: gpus.collect(), simulated: self.simulated }
    }
}

/// A pseudonym in the place of a chip's identity.
fn chip(pseudonym: [u8; 32]) -> ChipId {
    let mut id = [0; 64];
    id.iter_mut().zip(pseudonym).for_each(|(out, byte)| *out = byte);
    ChipId(id)
}

/// A pseudonym in the place of a virtual machine's identity.
fn vm(pseudonym: [u8; 16]) -> Option<VmId> {
    let hex: String = pseudonym.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut rest = hex.as_str();
    let mut groups = Vec::new();
    for length in [8, 4, 4, 4, 12] {
        let (group, after) = rest.split_at_checked(length)?;
        groups.push(group);
        rest = after;
    }
    groups.join("-").parse().ok()
}

fn of_snp(claims: &SnpClaims) -> Tee {
    let version = |[major, minor, build]: [u8; 3]| FirmwareVersion { major, minor, build };
    let report = Report {
        version: if claims.mitigations.is_some() { 5 } else { 3 },
        guest_svn: claims.guest_svn,
        policy: GuestPolicy(claims.guest_policy),
        family_id: *claims.family_id.as_bytes(),
        image_id: *claims.image_id.as_bytes(),
        vmpl: claims.vmpl,
        current_tcb: RawTcb(*claims.current_tcb.as_bytes()),
        platform_info: PlatformInfo(claims.platform_info),
        author_key_enabled: claims.author_key_enabled,
        chip_key_masked: false,
        signing_key: SigningKey::None,
        report_data: REPORT_DATA,
        measurement: Measurement::new(*claims.measurement.as_bytes()),
        host_data: *claims.host_data.as_bytes(),
        id_key_digest: *claims.id_key.as_bytes(),
        author_key_digest: *claims.author_key.as_bytes(),
        report_id: [0; 32],
        report_id_ma: [0; 32],
        reported_tcb: RawTcb(*claims.reported_tcb.as_bytes()),
        cpuid: None,
        chip_id: ChipId([0; 64]),
        committed_tcb: RawTcb(*claims.committed_tcb.as_bytes()),
        current_version: version(claims.current_version),
        committed_version: version(claims.committed_version),
        launch_tcb: RawTcb(*claims.launch_tcb.as_bytes()),
        mitigations: claims.mitigations.map(|[launch, current]| MitigationVectors { launch, current }),
        signature: [0; 96],
    };
    Tee::Snp {
        report: Box::new(report),
        product: match claims.product {
            SnpProduct::Milan => Product::Milan,
            SnpProduct::Genoa => Product::Genoa,
            SnpProduct::Turin => Product::Turin,
        },
        signer: match claims.signer {
            SnpSigner::Vcek => Signer::Vcek,
            SnpSigner::Vlek => Signer::Vlek,
        },
        chip: claims.chip.map(|pseudonym| chip(*pseudonym.as_bytes())),
        provider: claims.provider.as_ref().map(ToString::to_string),
        crl: claims.crl_judged,
    }
}

fn of_tdx(claims: &TdxClaims, at: Timestamp) -> Result<Tee, Unreadable> {
    let body = TdBody {
        tee_tcb_svn: [0; 16],
        mr_seam: *claims.mr_seam.as_bytes(),
        mr_signer_seam: NONE,
        seam_attributes: [0; 8],
        td_attributes: TdAttributes(claims.attributes),
        xfam: Xfam(claims.xfam),
        mrtd: Measurement::new(*claims.mrtd.as_bytes()),
        mr_config_id: *claims.mr_config_id.as_bytes(),
        mr_owner: *claims.mr_owner.as_bytes(),
        mr_owner_config: *claims.mr_owner_config.as_bytes(),
        rtmrs: claims.rtmrs.map(|rtmr| *rtmr.as_bytes()),
        report_data: REPORT_DATA,
        td15: claims.td15.as_ref().map(of_td15),
    };
    let pck = Pck {
        platform_id: PlatformId(*claims.platform.as_bytes()),
        components: [0; 16],
        pce_svn: 0,
        cpu_svn: [0; 16],
        pce_id: [0; 2],
        fmspc: *claims.fmspc.as_bytes(),
        sgx_type: SgxType::Scalable,
        platform_instance_id: None,
        dynamic_platform: claims.dynamic_platform,
        cached_keys: claims.cached_keys,
        smt_enabled: claims.smt,
    };
    let padding = usize::try_from(claims.padding).map_err(|_| Unreadable { what: "padding" })?;
    Ok(Tee::Tdx { body: Box::new(body), pck: Box::new(pck), tcb: Box::new(of_tcb(claims)?), padding, at })
}

fn of_td15(claims: &Td15Claims) -> Td15 {
    let extended = claims.extended.as_ref().map(|extended| Td15Extended {
        vm_index: extended.vm_index,
        td_id: [0; 32],
        device_info: *extended.device_info.as_bytes(),
        initial_service_td: *extended.initial_service_td.as_bytes(),
        initial_service_td_attributes: [0; 8],
        initial_cpu_svn: [0; 16],
        initial_tee_tcb_svn: [0; 16],
        initial_fmspc: [0; 12],
        current_service_td: *extended.current_service_td.as_bytes(),
        current_service_td_attributes: [0; 8],
    });
    Td15 { tee_tcb_svn2: [0; 16], mr_service_td: *claims.service_td.as_bytes(), extended }
}

/// A TCB whose parts together are what was recorded: the platform stands for all of them.
fn of_tcb(claims: &TdxClaims) -> Result<Tcb, Unreadable> {
    let status = TcbStatus::named(claims.status.as_str()).ok_or(Unreadable { what: "TCB status" })?;
    let advisories: Vec<String> = claims.advisories.iter().map(ToString::to_string).collect();
    let epoch = Timestamp::from_unix_seconds(0);
    let platform = TcbLevel {
        status,
        date: epoch,
        superseded: claims.superseded.map(Timestamp::from_unix_seconds),
        advisories: advisories.clone(),
    };
    let qe = TcbLevel { status: TcbStatus::UpToDate, date: epoch, superseded: None, advisories: Vec::new() };
    Ok(Tcb {
        status,
        advisories,
        launch: PlatformLevels { platform, module: None },
        current: None,
        qe,
        tcb_info_evaluation_number: claims.tcb_evaluation,
        qe_identity_evaluation_number: claims.qe_evaluation,
    })
}

const fn architecture(claims: GpuArchitecture) -> Architecture {
    match claims {
        GpuArchitecture::Hopper => Architecture::Hopper,
        GpuArchitecture::Blackwell => Architecture::Blackwell,
        GpuArchitecture::Ls10 => Architecture::Ls10,
    }
}

const fn kind(claims: GpuArchitecture) -> Kind {
    architecture(claims).kind()
}

/// A device whose links lead to the devices of the other kind, or to none, as was found then.
fn of_gpu(claims: &GpuClaims, board: &[(Kind, Pdi)]) -> Result<Device, Unreadable> {
    let linked = |other: Kind| {
        board.iter().filter(move |(kind, _)| claims.linked && *kind == other).map(|(_, pdi)| *pdi)
    };
    let bios = VbiosVersion(*claims.vbios.as_bytes());
    let fwid = claims.fwid.then_some([0; 48]);
    let fields = match kind(claims.architecture) {
        Kind::Gpu => {
            let mut switches = [Pdi([0; 8]); GPU_LINKS];
            switches.iter_mut().zip(linked(Kind::Switch)).for_each(|(link, pdi)| *link = pdi.reversed());
            let driver = claims.driver.as_ref().ok_or(Unreadable { what: "driver" })?;
            OpaqueFields::Gpu(Box::new(GpuFields {
                driver_version: driver.as_str().parse().map_err(|_| Unreadable { what: "driver" })?,
                vbios_version: bios,
                nvdec0_enabled: false,
                chip_sku: String::new(),
                project: String::new(),
                project_sku: String::new(),
                fwid,
                protected_pcie: claims.protected_pcie,
                switches: Some(switches),
                system_enable_status: None,
                version: None,
                chip: None,
                mode: claims.mode.map(|mode| match mode {
                    GpuMode::Single => Mode::SinglePassthrough,
                    GpuMode::Multi => Mode::MultiPassthrough,
                    GpuMode::ProtectedPcie => Mode::ProtectedPcie,
                }),
                unknown: 0,
            }))
        }
        Kind::Switch => {
            let mut gpus = [Pdi([0; 8]); SWITCH_GPUS];
            gpus.iter_mut().zip(linked(Kind::Gpu)).for_each(|(link, pdi)| *link = pdi);
            OpaqueFields::Switch(Box::new(SwitchFields {
                bios_version: bios,
                pdi: Pdi(*claims.device.as_bytes()),
                gpus,
                ports: [0xff; SWITCH_PORTS],
                fwid,
                disabled_ports: None,
                position: None,
                lock_status: None,
                unknown: 0,
            }))
        }
    };
    let missing = usize::try_from(claims.rims_missing).map_err(|_| Unreadable { what: "count" })?;
    let mut answers = of_ocsp(&claims.device_ocsp, Subject::Device);
    answers.extend(of_ocsp(&claims.rim_ocsp, Subject::Rim));
    Ok(Device {
        architecture: architecture(claims.architecture),
        pdi: Pdi(*claims.device.as_bytes()),
        fields,
        missing_rims: if missing == 0 { Vec::new() } else { vec![format!("{missing} manifests")] },
        answers,
    })
}

/// The oldest answer stands for all that there were, and one without an answer for all such.
fn of_ocsp(claims: &OcspClaims, subject: Subject) -> Vec<Answer> {
    let answered = claims.age_s.map(|age_seconds| Some(Standing { on_hold: claims.hold, age_seconds }));
    let unanswered = (claims.unanswered > 0).then_some(None);
    let answer = |standing| Answer { subject, certificate: "certificates".to_owned(), standing };
    answered.into_iter().chain(unanswered).map(answer).collect()
}

fn of_paravisor(claims: &ParavisorClaims) -> Result<Vtpm, Unreadable> {
    let vm_id = match &claims.vm {
        Some(pseudonym) => Some(vm(*pseudonym.as_bytes()).ok_or(Unreadable { what: "virtual machine" })?),
        None => None,
    };
    Ok(Vtpm {
        pcrs: claims.pcrs.iter().map(|pcr| (pcr.index, *pcr.value.as_bytes())).collect(),
        vm: VmConfiguration {
            console_enabled: claims.console,
            secure_boot: claims.secure_boot,
            tpm_enabled: None,
            tpm_persisted: None,
            vm_id,
        },
    })
}

fn of_tpm(claims: &TpmClaims) -> Tpm {
    let pcrs: BTreeMap<u8, [u8; 32]> =
        claims.pcrs.iter().map(|pcr| (pcr.index, *pcr.value.as_bytes())).collect();
    let of_log = |indices: &[u8]| {
        // What the log does not give is another value than the quoted one, whichever.
        let value = |(index, value): (&u8, &[u8; 32])| {
            (*index, if indices.contains(index) { *value } else { value.map(|byte| !byte) })
        };
        PcrLog::of_pcrs(pcrs.iter().map(value).collect())
    };
    Tpm {
        // The pseudonym stands in the place of the name.
        key: KeyName::new(Sha256Digest::new(*claims.key.as_bytes())),
        log: claims.log.as_deref().map(of_log),
        root: claims.root.map(|root| Sha256Digest::new(*root.as_bytes())),
        pcrs,
    }
}

/// The same rules, as they can be held to recorded claims: machines under their pseudonyms, or not asked about.
pub(super) fn comparable(
    policy: &AppraisalPolicy,
    machines: Machines<'_>,
    stated: &Stated<'_>,
) -> AppraisalPolicy {
    let mut policy = policy.clone();
    if let Some(providers) = policy.snp.as_mut().and_then(|snp| snp.allowed_providers.as_mut()) {
        providers.iter_mut().for_each(|provider| *provider = Claim::of(provider).to_string());
    }
    match machines {
        Machines::NotAsked => leave_machines_out(&mut policy, stated),
        Machines::Compared(key) => name_pseudonyms(&mut policy, key),
    }
    policy
}

fn leave_machines_out(policy: &mut AppraisalPolicy, stated: &Stated<'_>) {
    if let Some(snp) = &mut policy.snp {
        (snp.allowed_chips, snp.denied_chips) = (None, Vec::new());
    }
    if let Some(tdx) = &mut policy.tdx {
        (tdx.allowed_platforms, tdx.denied_platforms) = (None, Vec::new());
    }
    if let Some(gpu) = &mut policy.gpu {
        (gpu.allowed_devices, gpu.denied_devices) = (None, Vec::new());
    }
    if let Some(paravisor) = &mut policy.paravisor {
        paravisor.vm_ids = None;
    }
    // A policy must name keys, so the one that came stands for those that are not asked about.
    if let (Some(tpm), Some(quote)) = (&mut policy.tpm, &stated.tpm)
        && !tpm.keys.is_empty()
    {
        tpm.keys = vec![quote.key];
    }
}

fn name_pseudonyms(policy: &mut AppraisalPolicy, key: &PseudonymKey) {
    fn each<T>(allowed: Option<&mut Vec<T>>, denied: &mut [T], name: impl Fn(&T) -> T) {
        allowed.into_iter().flatten().chain(denied).for_each(|machine| *machine = name(machine));
    }
    if let Some(snp) = &mut policy.snp {
        each(snp.allowed_chips.as_mut(), &mut snp.denied_chips, |id| chip(key.chip(id)));
    }
    if let Some(tdx) = &mut policy.tdx {
        let name = |id: &PlatformId| PlatformId(key.platform(id));
        each(tdx.allowed_platforms.as_mut(), &mut tdx.denied_platforms, name);
    }
    if let Some(gpu) = &mut policy.gpu {
        each(gpu.allowed_devices.as_mut(), &mut gpu.denied_devices, |id| Pdi(key.device(id)));
    }
    if let Some(tpm) = &mut policy.tpm {
        each(Some(&mut tpm.keys), &mut [], |name| KeyName::new(Sha256Digest::new(key.tpm(name))));
    }
    if let Some(paravisor) = &mut policy.paravisor {
        let name = |id: &VmId| vm(key.vm(id)).unwrap_or_else(|| id.clone());
        each(paravisor.vm_ids.as_mut(), &mut [], name);
    }
}
