//! `anchorhold image measure`.

use super::inputs::{
    BootArgs, DirectArgs, Named, PAGE_ORDERS, ProcessorArgs, hypervisor_word, launches, read_firmware, wrong,
};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{self, Format, line};
use anchorhold_attester::software::measure_components;
use anchorhold_measure::boot::Event;
use anchorhold_measure::{tdx, tpm};
use anchorhold_rats::{Measurement, RuntimeEvent, Sha256Digest, hex};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest file with tables of ACPI, in bytes.
const MAX_TABLES_BYTES: usize = 16 * 1024 * 1024;
/// The longest file of settings, in bytes.
const MAX_SETTINGS_BYTES: usize = 1024 * 1024;

/// For which hardware.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    #[command(
        after_help = "Example:\n  anchorhold image measure snp --firmware OVMF.amdsev.fd --kernel vmlinuz --initrd initrd.zst \\\n    --command-line-file cmdline --vcpus 1,2,4 --vcpu-type EPYC-Genoa"
    )]
    Snp(SnpArgs),
    #[command(
        after_help = "Example:\n  anchorhold image measure tdx --firmware OVMF.inteltdx.fd --uki anchorhold.efi --memory 4294967296"
    )]
    Tdx(TdxArgs),
    #[command(after_help = "Example:\n  anchorhold image measure tpm --uki anchorhold.efi --on-disk")]
    Tpm(TpmArgs),
    #[command(
        after_help = "Example:\n  anchorhold image measure rtmr3 --keeper-settings keeper.toml --gateway-settings gateway.toml \\\n    --model acme/chat-70b=7=$MANIFEST_SHA256"
    )]
    Rtmr3(Rtmr3Args),
    /// The simulated launch digest of the software guest that runs without an image
    ///
    /// Covers the names and contents of the files. This is what the software guest reports as its measurement. It is
    /// not the launch digest that SEV-SNP firmware computes, and no machine has it: of a real guest,
    /// `anchorhold evidence show` prints MEASUREMENT.
    #[command(
        after_help = "Example:\n  anchorhold image measure simulated --component keeper=./keeper --component worker=./worker"
    )]
    Simulated {
        /// A name and the file it stands for; repeat for each, in the order in which the guest lists them
        #[arg(long, value_name = "NAME=PATH", required = true)]
        component: Vec<Named>,
    },
}

/// MEASUREMENT of SEV-SNP reports, for each number and model of processors
///
/// Kernel, initrd and command line are measured where the hypervisor hands them over with their hashes (QEMU:
/// kernel-hashes=on); without them, the firmware alone is.
#[derive(clap::Args)]
pub(crate) struct SnpArgs {
    /// The firmware
    #[arg(long, value_name = "FILE")]
    firmware: PathBuf,
    #[command(flatten)]
    direct: DirectArgs,
    #[command(flatten)]
    processors: ProcessorArgs,
    #[command(flatten)]
    format: Format,
}

/// The registers of TDX quotes: MRTD, and those of RTMR0 to RTMR2 that the named files determine
///
/// RTMR0 holds the settings of the machine beside the firmware: its ACPI tables, variables and boot order. Name the tables, or the
/// digests of all these events, which a boot of the same machine logs, to have it computed.
#[derive(clap::Args)]
pub(crate) struct TdxArgs {
    /// The firmware
    #[arg(long, value_name = "FILE")]
    firmware: PathBuf,
    #[command(flatten)]
    boot: BootArgs,
    /// The memory of the guest in bytes, for RTMR0
    #[arg(long, value_name = "BYTES")]
    memory: Option<u64>,
    /// A digest that extends RTMR0 after the list of memory and the firmware's variables, in hex; repeat for each, in order
    #[arg(long, value_name = "HEX", requires = "memory")]
    rtmr0_event: Vec<Measurement>,
    /// A folder with the tables of ACPI that QEMU hands over, as `anchorhold-image acpi` writes it: the files table-loader, rsdp and
    /// tables, which `etc/table-loader`, `etc/acpi/rsdp` and `etc/acpi/tables` of fw_cfg are. Of firmware without Secure Boot keys they
    /// determine the rest of RTMR0; other firmware is refused
    #[arg(long, value_name = "DIR", requires = "memory", conflicts_with = "rtmr0_event")]
    acpi: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// RTMR3 of a TD's quotes, as its keeper extends it
///
/// One line for each moment: when the guest asks for its keys, and after each model that it then loads, in the order of its
/// settings. A policy that names RTMR3 names the first and the last.
#[derive(clap::Args)]
pub(crate) struct Rtmr3Args {
    /// The guest's keeper.toml
    #[arg(long, value_name = "FILE")]
    keeper_settings: PathBuf,
    /// The guest's gateway.toml
    #[arg(long, value_name = "FILE")]
    gateway_settings: PathBuf,
    /// A model with its version and the SHA-256 digest of its signed manifest; repeat for each, in order
    #[arg(long, value_name = "ID=VERSION=DIGEST")]
    model: Vec<Model>,
    #[command(flatten)]
    format: Format,
}

/// A model that a guest loads.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Model {
    id: String,
    version: u64,
    manifest: Sha256Digest,
}

impl FromStr for Model {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "wanted ID=VERSION=DIGEST";
        let mut parts = text.rsplitn(3, '=');
        let (Some(manifest), Some(version), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(WANTED);
        };
        let (manifest, version) =
            (manifest.parse().map_err(|_| WANTED)?, version.parse().map_err(|_| WANTED)?);
        if id.is_empty() { Err(WANTED) } else { Ok(Self { id: id.to_owned(), version, manifest }) }
    }
}

/// The PCRs of a TPM after a measured boot, of both banks
///
/// PCRs 0, 1 and 7 are not among them: they hold firmware, machine and Secure Boot.
#[derive(clap::Args)]
pub(crate) struct TpmArgs {
    #[command(flatten)]
    boot: BootArgs,
    /// List what is measured, in order
    #[arg(long)]
    events: bool,
    #[command(flatten)]
    format: Format,
}

pub(super) fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Snp(args) => snp(args)?,
        Command::Tdx(args) => tdx(args)?,
        Command::Tpm(args) => tpm(args)?,
        Command::Rtmr3(args) => rtmr3(args)?,
        Command::Simulated { component } => simulated(component)?,
    }
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct SnpMeasured<'a> {
    measurement: Measurement,
    vcpus: u32,
    vcpu_type: &'a str,
    sev_features: u64,
    hypervisor: &'static str,
}

fn snp(args: &SnpArgs) -> Result<(), Failure> {
    let firmware = read_firmware(&args.firmware)?;
    let direct = args.direct.read()?;
    let direct = direct.as_ref().map(super::inputs::DirectFiles::as_boot);
    let launched = launches(&firmware, direct, &args.processors)?;
    if args.format.json {
        let measured = launched.iter().map(|launched| SnpMeasured {
            measurement: launched.digest,
            vcpus: launched.vcpus,
            vcpu_type: &launched.model,
            sev_features: args.processors.sev_features,
            hypervisor: hypervisor_word(args.processors.hypervisor),
        });
        return output::json(&measured.collect::<Vec<_>>());
    }
    let mut out = String::new();
    for launched in &launched {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "sha384:{} {} x {}", launched.digest, launched.vcpus, launched.model);
    }
    output::text(&out)
}

#[derive(Serialize)]
struct TdxMeasured {
    mrtd: Vec<Mrtd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtmr0: Option<Measurement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtmr1: Option<Measurement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtmr2: Option<Measurement>,
}

#[derive(Serialize)]
struct Mrtd {
    value: Measurement,
    pages: &'static str,
}

fn tdx(args: &TdxArgs) -> Result<(), Failure> {
    let firmware = read_firmware(&args.firmware)?;
    let events = args.boot.read()?.events()?;
    let rtmrs = events.as_ref().map(|events| tdx::rtmrs(events));
    let mut mrtd = Vec::new();
    for (order, pages) in PAGE_ORDERS {
        mrtd.push(Mrtd { value: tdx::mrtd(&firmware, order).map_err(wrong)?, pages });
    }
    let measured = TdxMeasured {
        mrtd,
        rtmr0: rtmr0(&firmware, args)?,
        rtmr1: rtmrs.map(|rtmrs| rtmrs.rtmr1),
        rtmr2: rtmrs.map(|rtmrs| rtmrs.rtmr2),
    };
    if args.format.json {
        return output::json(&measured);
    }
    let mut out = String::new();
    for Mrtd { value, pages } in &measured.mrtd {
        line(&mut out, "mrtd", &format!("sha384:{value} {pages}"));
    }
    let registers = [("rtmr0", measured.rtmr0), ("rtmr1", measured.rtmr1), ("rtmr2", measured.rtmr2)];
    for (name, value) in registers {
        if let Some(value) = value {
            line(&mut out, name, &format!("sha384:{value}"));
        }
    }
    output::text(&out)
}

/// RTMR0, when the events that no file determines were named.
fn rtmr0(firmware: &[u8], args: &TdxArgs) -> Result<Option<Measurement>, Failure> {
    let Some(memory) = args.memory else { return Ok(None) };
    if let Some(folder) = &args.acpi {
        let table = |name: &str| files::read(&folder.join(name), MAX_TABLES_BYTES);
        let acpi = tdx::AcpiDigests::of(&table("table-loader")?, &table("rsdp")?, &table("tables")?);
        return tdx::rtmr0(firmware, memory, &acpi).map(Some).map_err(wrong);
    }
    if args.rtmr0_event.is_empty() {
        return Ok(None);
    }
    let list = tdx::memory_list_digest(firmware, memory).map_err(wrong)?;
    let variables = tdx::variables_digest(firmware).map_err(wrong)?;
    let rest = args.rtmr0_event.iter().map(Measurement::as_bytes);
    Ok(Some(tdx::extended([&list, &variables].into_iter().chain(rest))))
}

#[derive(Serialize)]
struct Moment {
    rtmr3: Measurement,
    event: String,
}

fn rtmr3(args: &Rtmr3Args) -> Result<(), Failure> {
    let digest = |path: &Path| Ok(Sha256Digest::of(&files::read(path, MAX_SETTINGS_BYTES)?));
    let settings = RuntimeEvent::settings(&digest(&args.keeper_settings)?, &digest(&args.gateway_settings)?);
    let models =
        args.model.iter().map(|model| RuntimeEvent::model(&model.id, model.version, &model.manifest));
    let (mut digests, mut moments) = (Vec::new(), Vec::new());
    for event in std::iter::once(settings).chain(models) {
        digests.push(event.digest());
        moments.push(Moment { rtmr3: tdx::extended(&digests), event: event.to_string() });
    }
    if args.format.json {
        return output::json(&moments);
    }
    let mut out = String::new();
    for Moment { rtmr3, event } in &moments {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "sha384:{rtmr3} {event}");
    }
    output::text(&out)
}

#[derive(Serialize)]
struct TpmMeasured {
    pcrs: Vec<Pcr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<TpmEvent>,
}

#[derive(Serialize)]
struct Pcr {
    pcr: u32,
    sha256: String,
    sha384: String,
}

#[derive(Serialize)]
struct TpmEvent {
    pcr: u32,
    what: &'static str,
    sha256: String,
    sha384: String,
}

fn tpm(args: &TpmArgs) -> Result<(), Failure> {
    let events = args.boot.read()?.events()?;
    let events = events.ok_or_else(|| Failure::usage("name --uki or --kernel"))?;
    let pcrs = tpm::PREDICTED.map(|pcr| Pcr {
        pcr,
        sha256: hex(&tpm::pcr_sha256(&events, pcr)),
        sha384: hex(&tpm::pcr_sha384(&events, pcr)),
    });
    let shown = |event: &Event| TpmEvent {
        pcr: event.pcr,
        what: event.what,
        sha256: hex(&event.digests.sha256),
        sha384: hex(&event.digests.sha384),
    };
    let events = if args.events { events.iter().map(shown).collect() } else { Vec::new() };
    let measured = TpmMeasured { pcrs: pcrs.into(), events };
    if args.format.json {
        return output::json(&measured);
    }
    let mut out = String::new();
    for TpmEvent { pcr, what, sha384, .. } in &measured.events {
        line(&mut out, "event", &format!("{pcr:2} sha384:{sha384} {what}"));
    }
    for Pcr { pcr, sha256, sha384 } in &measured.pcrs {
        line(&mut out, "pcr", &format!("{pcr:2} sha256:{sha256}"));
        line(&mut out, "pcr", &format!("{pcr:2} sha384:{sha384}"));
    }
    output::text(&out)
}

fn simulated(component: &[Named]) -> Result<(), Failure> {
    let components: Vec<(&str, &Path)> =
        component.iter().map(|component| (component.name.as_str(), component.path.as_path())).collect();
    let measurement =
        measure_components(&components).map_err(|e| Failure::other(format!("cannot measure: {e}")))?;
    output::text(&format!("{measurement}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_an_id_a_version_and_a_digest() {
        let digest = "0a".repeat(32);
        let model = Model { id: "a=b/c".into(), version: 7, manifest: Sha256Digest::new([10; 32]) };
        assert_eq!(format!("a=b/c=7={digest}").parse(), Ok(model));
        for text in [
            digest.clone(),
            format!("7={digest}"),
            format!("=7={digest}"),
            format!("m=x={digest}"),
            "m=7=0a".into(),
        ] {
            assert!(text.parse::<Model>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_component_is_a_name_and_a_path() {
        let component = Named { name: "keeper".into(), path: "a=b".into() };
        assert_eq!("keeper=a=b".parse(), Ok(component));
        for text in ["", "keeper", "=path", "keeper="] {
            assert!(text.parse::<Named>().is_err(), "{text}");
        }
    }
}
