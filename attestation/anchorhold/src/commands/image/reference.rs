//! `anchorhold image reference-values`.

use super::inputs::{
    BootArgs, BootFiles, PAGE_ORDERS, ProcessorArgs, hypervisor_word, launches, read_firmware, wrong,
};
use crate::commands::owner;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::{files, trust};
use anchorhold_appraisal_policy::{
    Header, MAX_VALIDITY_DAYS, MeasuredFile, REFERENCE_VALUES_TYPE, ReferenceValues, SnpLaunch, TdxBoot,
    TpmBoot,
};
use anchorhold_measure::boot::Event;
use anchorhold_measure::{tdx, tpm};
use anchorhold_rats::{Ed25519PublicKey, Sha256Digest, Timestamp};
use serde::Serialize;
use std::path::PathBuf;

const SECONDS_PER_DAY: i64 = 86_400;

/// The image, and what the file says about itself.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to call the image
    #[arg(long, value_name = "NAME")]
    id: String,
    /// Its version; whoever has seen a greater one refuses this one
    #[arg(long, value_name = "N")]
    version: u64,
    /// What it is for, in one line
    #[arg(long, value_name = "TEXT")]
    description: String,
    /// For how many days from now the file holds
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(i64).range(1..=MAX_VALIDITY_DAYS))]
    days: i64,
    /// From when on it holds, instead of now
    #[arg(long, value_name = "TIME")]
    issued: Option<Timestamp>,
    /// The firmware of SEV-SNP guests
    #[arg(long, value_name = "FILE")]
    snp_firmware: Option<PathBuf>,
    #[command(flatten)]
    processors: ProcessorArgs,
    /// The firmware of TDX guests
    #[arg(long, value_name = "FILE")]
    tdx_firmware: Option<PathBuf>,
    #[command(flatten)]
    boot: BootArgs,
    /// The key that `owner new` made, to sign the file with; without it, the file is not signed
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
    /// The file to make
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Written {
    digest: Sha256Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<Ed25519PublicKey>,
}

pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let text = values(args)?.to_toml();
    // What no reader takes is not signed.
    ReferenceValues::from_toml(&text).map_err(Failure::usage)?;
    let (bytes, signer) = match &args.sign {
        None => (text.clone().into_bytes(), None),
        Some(path) => {
            let owner = owner::read(path)?;
            let signed =
                anchorhold_dsse::sign(REFERENCE_VALUES_TYPE, text.as_bytes(), &[owner.signing_key()]);
            (signed.map_err(Failure::other)?, Some(Ed25519PublicKey::new(owner.public_key())))
        }
    };
    files::write(&files::create_public(&args.out)?, &args.out, &bytes)?;
    let written = Written { digest: Sha256Digest::of(text.as_bytes()), signer };
    if args.format.json {
        output::json(&written)?;
    } else {
        output::text(&format!("{}\n", written.digest))?;
    }
    Ok(Exit::Ok)
}

fn values(args: &Args) -> Result<ReferenceValues, Failure> {
    let issued = args.issued.map_or_else(trust::now, Ok)?;
    let header = Header {
        id: args.id.clone(),
        version: args.version,
        issued,
        expires: issued.plus_seconds(args.days * SECONDS_PER_DAY),
        description: args.description.clone(),
    };
    let boot = args.boot.read()?;
    let mut measured = measured_files(&boot);
    let mut snp = Vec::new();
    if let Some(path) = &args.snp_firmware {
        let firmware = read_firmware(path)?;
        measured.push(measured_file("snp-firmware", &firmware));
        let direct = boot.direct.as_ref().map(super::inputs::DirectFiles::as_boot);
        if direct.is_none() {
            return Err(Failure::usage(
                "--snp-firmware wants --kernel: without it only the firmware is measured",
            ));
        }
        for launched in launches(&firmware, direct, &args.processors)? {
            snp.push(SnpLaunch {
                measurement: launched.digest,
                vcpus: launched.vcpus,
                vcpu_type: launched.model,
                sev_features: args.processors.sev_features,
                hypervisor: hypervisor_word(args.processors.hypervisor).to_owned(),
            });
        }
    }
    // SNP hashes the kernel as bytes; only firmware that starts it as an image wants one.
    let is_started = boot.uki.is_some() || args.tdx_firmware.is_some();
    let events = if is_started { boot.events()? } else { None };
    let mut boots = Vec::new();
    if let Some(path) = &args.tdx_firmware {
        let firmware = read_firmware(path)?;
        measured.push(measured_file("tdx-firmware", &firmware));
        let events =
            events.as_ref().ok_or_else(|| Failure::usage("--tdx-firmware wants --uki or --kernel"))?;
        boots = tdx_boots(&firmware, events)?;
    }
    let tpm = events.as_ref().filter(|_| boot.uki.is_some()).map(|events| tpm_boot(events));
    Ok(ReferenceValues { header, files: measured, snp, tdx: boots, tpm })
}

fn measured_files(boot: &BootFiles) -> Vec<MeasuredFile> {
    let mut out = Vec::new();
    if let Some(uki) = &boot.uki {
        out.push(measured_file("uki", uki));
    }
    if let Some(direct) = &boot.direct {
        out.push(measured_file("kernel", &direct.kernel));
        out.push(measured_file("initrd", &direct.initrd));
        out.push(measured_file("command-line", direct.command_line.as_bytes()));
    }
    out
}

fn measured_file(name: &str, content: &[u8]) -> MeasuredFile {
    let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
    MeasuredFile { name: name.to_owned(), bytes, sha256: Sha256Digest::of(content) }
}

fn tdx_boots(firmware: &[u8], events: &[Event]) -> Result<Vec<TdxBoot>, Failure> {
    let rtmrs = tdx::rtmrs(events);
    let boot = |(order, pages): (_, &str)| {
        Ok(TdxBoot {
            mrtd: tdx::mrtd(firmware, order).map_err(wrong)?,
            rtmr0: None,
            rtmr1: *rtmrs.rtmr1.as_bytes(),
            rtmr2: *rtmrs.rtmr2.as_bytes(),
            hypervisor: pages.to_owned(),
        })
    };
    PAGE_ORDERS.into_iter().map(boot).collect()
}

fn tpm_boot(events: &[Event]) -> TpmBoot {
    let mut boot = TpmBoot::default();
    for pcr in tpm::PREDICTED {
        if let Ok(index) = u8::try_from(pcr) {
            boot.sha256.insert(index, tpm::pcr_sha256(events, pcr));
            boot.sha384.insert(index, tpm::pcr_sha384(events, pcr));
        }
    }
    boot
}
