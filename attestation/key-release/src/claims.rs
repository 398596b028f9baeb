//! The claims of evidence as a log keeps them, and back into what the verifier's rules judge.

use crate::{Asked, PseudonymKey};
use anchorhold_audit_log::claims::{
    self as log, Claims, GpuArchitecture, GpuClaims, GpuMode, OcspClaims, ParavisorClaims, Pcr, SnpClaims,
    SnpProduct, SnpSigner, Td15Claims, Td15ExtendedClaims, TdxClaims, TeeClaims, TpmClaims,
};
use anchorhold_audit_log::{Claim, Hash, Hex, Measurement, ModelId};
use anchorhold_verifier::nvidia::{self, Answer, Architecture, Mode, OpaqueFields, Subject};
use anchorhold_verifier::snp::{self, Product, Signer};
use anchorhold_verifier::{Stated, StatedTee, azure, tdx, tpm};
use std::collections::BTreeMap;

/// The claims of `stated` and what was asked; `None` when they are more than an entry takes, which authentic evidence within
/// its limits never is.
pub(crate) fn record(stated: &Stated<'_>, asked: &Asked<'_>, key: &PseudonymKey) -> Option<Claims> {
    let tee = match &stated.tee {
        StatedTee::Snp(report) => TeeClaims::Snp(Box::new(of_snp(report, key))),
        StatedTee::Tdx(quote) => TeeClaims::Tdx(Box::new(of_tdx(quote, key)?)),
    };
    let gpus =
        stated.gpus.iter().map(|device| of_gpu(device, &stated.gpus, key)).collect::<Option<Vec<_>>>()?;
    let paravisor = match &stated.paravisor {
        Some(vtpm) => Some(of_paravisor(vtpm, key)?),
        None => None,
    };
    let tpm = match &stated.tpm {
        Some(quote) => Some(of_tpm(quote, key)?),
        None => None,
    };
    if gpus.len() > log::MAX_DEVICES {
        return None;
    }
    Some(Claims { asked: of_asked(asked)?, gpus, paravisor, simulated: stated.simulated, tee, tpm })
}

fn of_asked(asked: &Asked<'_>) -> Option<log::Asked> {
    Some(log::Asked {
        anchor_ms: asked.audit.anchor_ms.map(u64::from),
        kem: Claim::new(asked.kem.name()).ok()?,
        min_version: asked.min_version,
        model: ModelId::new(asked.model_id).ok(),
        purpose: Claim::new(&asked.purpose.to_string()).ok()?,
        witnesses: asked.audit.witnesses.into(),
    })
}

fn of_snp(stated: &snp::Stated<'_>, key: &PseudonymKey) -> SnpClaims {
    let report = stated.report;
    let version = |version: snp::FirmwareVersion| [version.major, version.minor, version.build];
    SnpClaims {
        author_key: Measurement::new(report.author_key_digest),
        author_key_enabled: report.author_key_enabled,
        chip: stated.chip_id.map(|chip| Hash::new(key.chip(&chip))),
        committed_tcb: Hex::new(report.committed_tcb.0),
        committed_version: version(report.committed_version),
        crl_judged: stated.crl_judged,
        current_tcb: Hex::new(report.current_tcb.0),
        current_version: version(report.current_version),
        family_id: Hex::new(report.family_id),
        guest_policy: report.policy.0,
        guest_svn: report.guest_svn,
        host_data: Hex::new(report.host_data),
        id_key: Measurement::new(report.id_key_digest),
        image_id: Hex::new(report.image_id),
        launch_tcb: Hex::new(report.launch_tcb.0),
        measurement: Measurement::new(*report.measurement.as_bytes()),
        mitigations: report.mitigations.map(|vectors| [vectors.launch, vectors.current]),
        platform_info: report.platform_info.0,
        product: match stated.product {
            Product::Milan => SnpProduct::Milan,
            Product::Genoa => SnpProduct::Genoa,
            Product::Turin => SnpProduct::Turin,
        },
        provider: stated.provider.map(Claim::of),
        reported_tcb: Hex::new(report.reported_tcb.0),
        signer: match stated.signer {
            Signer::Vcek => SnpSigner::Vcek,
            Signer::Vlek => SnpSigner::Vlek,
        },
        vmpl: report.vmpl,
    }
}

fn of_tdx(stated: &tdx::Stated<'_>, key: &PseudonymKey) -> Option<TdxClaims> {
    let tdx::Stated { body, pck, tcb, .. } = stated;
    if tcb.advisories.len() > log::MAX_ADVISORIES {
        return None;
    }
    Some(TdxClaims {
        advisories: tcb.advisories.iter().map(|advisory| Claim::of(advisory)).collect(),
        attributes: body.td_attributes.0,
        cached_keys: pck.cached_keys,
        dynamic_platform: pck.dynamic_platform,
        fmspc: Hex::new(pck.fmspc),
        mr_config_id: Measurement::new(body.mr_config_id),
        mr_owner: Measurement::new(body.mr_owner),
        mr_owner_config: Measurement::new(body.mr_owner_config),
        mr_seam: Measurement::new(body.mr_seam),
        mrtd: Measurement::new(*body.mrtd.as_bytes()),
        padding: u64::try_from(stated.padding).ok()?,
        platform: Hex::new(key.platform(&pck.platform_id)),
        qe_evaluation: tcb.qe_identity_evaluation_number,
        rtmrs: body.rtmrs.map(Measurement::new),
        smt: pck.smt_enabled,
        status: Claim::new(tcb.status.word()).ok()?,
        superseded: tcb.superseded().map(|since| since.unix_seconds()),
        tcb_evaluation: tcb.tcb_info_evaluation_number,
        td15: body.td15.as_ref().map(of_td15),
        xfam: body.xfam.0,
    })
}

fn of_td15(td15: &tdx::Td15) -> Td15Claims {
    let extended = td15.extended.as_ref().map(|extended| Td15ExtendedClaims {
        current_service_td: Measurement::new(extended.current_service_td),
        device_info: Measurement::new(extended.device_info),
        initial_service_td: Measurement::new(extended.initial_service_td),
        vm_index: extended.vm_index,
    });
    Td15Claims { extended, service_td: Measurement::new(td15.mr_service_td) }
}

fn of_gpu(
    device: &nvidia::Stated<'_>,
    board: &[nvidia::Stated<'_>],
    key: &PseudonymKey,
) -> Option<GpuClaims> {
    let (driver, mode, protected_pcie, vbios, fwid) = match device.fields {
        OpaqueFields::Gpu(gpu) => {
            let driver = Claim::new(&gpu.driver_version.to_string()).ok()?;
            (Some(driver), gpu.mode, gpu.protected_pcie, gpu.vbios_version, gpu.fwid.is_some())
        }
        OpaqueFields::Switch(switch) => (None, None, None, switch.bios_version, switch.fwid.is_some()),
    };
    Some(GpuClaims {
        architecture: match device.architecture {
            Architecture::Hopper => GpuArchitecture::Hopper,
            Architecture::Blackwell => GpuArchitecture::Blackwell,
            Architecture::Ls10 => GpuArchitecture::Ls10,
        },
        device: Hex::new(key.device(&device.pdi)),
        device_ocsp: of_answers(device.answers, Subject::Device)?,
        driver,
        fwid,
        linked: nvidia::links_are_whole(device, board),
        mode: mode.map(|mode| match mode {
            Mode::SinglePassthrough => GpuMode::Single,
            Mode::MultiPassthrough => GpuMode::Multi,
            Mode::ProtectedPcie => GpuMode::ProtectedPcie,
        }),
        protected_pcie,
        rim_ocsp: of_answers(device.answers, Subject::Rim)?,
        rims_missing: u32::try_from(device.missing_rims.len()).ok()?,
        vbios: Hex::new(vbios.0),
    })
}

fn of_answers(answers: &[Answer], subject: Subject) -> Option<OcspClaims> {
    let of_subject = || answers.iter().filter(move |answer| answer.subject == subject);
    let standings = || of_subject().filter_map(|answer| answer.standing);
    Some(OcspClaims {
        age_s: standings().map(|standing| standing.age_seconds).max(),
        hold: standings().any(|standing| standing.on_hold),
        unanswered: u32::try_from(of_subject().filter(|answer| answer.standing.is_none()).count()).ok()?,
    })
}

fn of_paravisor(stated: &azure::Stated<'_>, key: &PseudonymKey) -> Option<ParavisorClaims> {
    Some(ParavisorClaims {
        console: stated.vm.console_enabled,
        pcrs: of_pcrs(stated.pcrs)?,
        secure_boot: stated.vm.secure_boot,
        vm: stated.vm.vm_id.as_ref().map(|vm| Hex::new(key.vm(vm))),
    })
}

fn of_tpm(stated: &tpm::Stated<'_>, key: &PseudonymKey) -> Option<TpmClaims> {
    // The history of a PCR is its value, so which ones the log gives is all that replaying needs.
    let given = |log: &tpm::PcrLog| {
        let fits =
            |(index, value): &(&u8, &[u8; 32])| log.pcrs().get(index).copied().unwrap_or_default() == **value;
        stated.pcrs.iter().filter(fits).map(|(index, _)| *index).collect()
    };
    let log = stated.log.map(given);
    let root = stated.root.map(|root| Hash::new(*root.as_bytes()));
    Some(TpmClaims { key: Hash::new(key.tpm(&stated.key)), log, pcrs: of_pcrs(stated.pcrs)?, root })
}

fn of_pcrs(pcrs: &BTreeMap<u8, [u8; 32]>) -> Option<Vec<Pcr>> {
    let pcrs = pcrs.iter().map(|(index, value)| Pcr { index: *index, value: Hash::new(*value) });
    let pcrs: Vec<_> = pcrs.collect();
    (pcrs.len() <= log::MAX_PCRS).then_some(pcrs)
}
