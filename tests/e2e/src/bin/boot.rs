//! `anchorhold-boot`: the main job with the guest in a virtual machine, from sealing to an attested answer. `make boot` runs it.

use anchorhold_e2e::boot::{Booted, CPU, Deployment, Image, WithTpm, require_host};
use anchorhold_e2e::client::{Caller, appraisal, cosine};
use anchorhold_e2e::kvm::{Wish, choose};
use anchorhold_e2e::models::EMBEDDING;
use anchorhold_image_builder::build::files;
use anchorhold_image_builder::qemu::{self, Accelerator, PciAddress, Tee};
use anchorhold_image_builder::{acpi, hex, sha256};
use anchorhold_verifier::AppraisalPolicy;
use anchorhold_verifier::event_log::EventKind;
use anchorhold_verifier::tpm::PcrEvent;
use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

const SENTENCES: [&str; 3] = [
    "The nurse checked the patient's heart rate.",
    "A doctor measured the pulse of the sick man.",
    "The stock market fell sharply on Monday.",
];

/// A GPU's libraries and pinned buffers, and weights on their way to it.
const MEMORY_WITH_GPU_MIB: u32 = 16 << 10;

/// Boots the image, verifies the guest as a client would, and asks it.
#[derive(Debug, Parser)]
#[command(name = "anchorhold-boot", version)]
#[command(
    after_help = "Example:\n  anchorhold-boot --image target/image/demo --tools target/image-tools --json boot.json\n\n\
                        Exit: 0 after the answer, 1 with the reason."
)]
struct Arguments {
    /// The folder of the image, of the flavour demo
    #[arg(long, value_name = "DIR")]
    image: PathBuf,
    /// The folder that enclave-image/tools.sh made
    #[arg(long, value_name = "DIR")]
    tools: PathBuf,
    /// Write the stage times as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// After the answer, ask so many requests more, of 16 sentences each, and say how many sentences a second come back
    #[arg(long, value_name = "REQUESTS")]
    rate: Option<u32>,
    /// Who runs the guest: tcg, kvm (refused where a probe does not boot), or auto
    #[arg(long, value_name = "WHO", default_value = "tcg")]
    accelerator: Wish,
    /// Show the command line for a host of snp or tdx guests; refused on a machine that is none
    #[arg(long, value_name = "TEE")]
    tee: Option<String>,
    /// Boot through UEFI firmware with an emulated TPM, and demand its quote and event log beside the simulated report
    #[arg(long, conflicts_with = "tee")]
    tpm: bool,
    /// A GPU of this machine that is bound to vfio-pci, as 0000:41:00.0; repeat for each
    #[arg(long, value_name = "ADDRESS")]
    gpu: Vec<PciAddress>,
    /// The firmware of a TDX guest
    #[arg(long, value_name = "FILE", required_if_eq("tee", "tdx"))]
    firmware: Option<PathBuf>,
}

fn main() -> ExitCode {
    if let Err(error) = run(&Arguments::parse()) {
        // Nothing is left to tell it to when standard error is gone too.
        let _ = writeln!(std::io::stderr(), "anchorhold-boot: error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn say(text: &str) {
    // A reader who left wants no more lines.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(tee) = &arguments.tee {
        require_host(tee)?;
    }
    say(
        "SIMULATED TEE: a virtual machine that its host can read. The path is the real one; it protects nothing from this machine.",
    );
    let deployment = prepared(arguments)?;
    if arguments.tee.is_some() {
        let words = qemu::arguments(&deployment.machine);
        say(&format!(
            "qemu-system-x86_64 {}",
            words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ")
        ));
        bail!(
            "this guest's image simulates its evidence: build a production image and a policy for this machine"
        );
    }
    let tables = deployment.tables()?;
    let machine = deployment.machine.clone();
    let booted = deployment
        .boot(&machine, |stage| {
            say(&format!(
                "{:>9.0} ms  {}",
                stage["host_ms"].as_f64().unwrap_or_default(),
                stage["stage"].as_str().unwrap_or_default()
            ));
        })?
        .ready()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut policy = appraisal(&deployment.measurement)?;
    policy.tpm = deployment.tpm.as_ref().map(|(_, policy)| policy.clone());
    let (caller, checks) = runtime.block_on(ask(&booted, &policy))?;
    let answered = booted.host_ms();
    if let Some(tables) = &tables {
        compare_tables(&caller, tables)?;
    }
    say(&format!("{answered:>9.0} ms  answered: {checks} checks passed, three sentences embedded"));
    let rate = match arguments.rate {
        Some(requests) => Some(runtime.block_on(caller.embedding_rate(EMBEDDING, requests))?),
        None => None,
    };
    if let Some(rate) = rate {
        say(&format!("{rate:>9.2} sentences a second"));
    }
    if let Some(path) = &arguments.json {
        let accelerator = match machine.accelerator {
            Accelerator::Tcg => "tcg",
            Accelerator::Kvm => "kvm",
        };
        let stages = json!({
            "simulated": true, "accelerator": accelerator, "measurement": deployment.measurement, "stages": booted.stages,
            "sentences_per_s": rate,
            "ms": {
                "root": booted.reached("root")?, "checked": booted.reached("checked")?,
                "attested": booted.reached("evidence")?, "released": booted.reached("release")?,
                "ready": booted.reached("ready")?, "answered": answered,
            },
        });
        std::fs::write(path, serde_json::to_string_pretty(&stages)? + "\n")?;
    }
    Ok(())
}

/// Everything that the boot stands on, with the machine as the arguments want it.
fn prepared(arguments: &Arguments) -> anyhow::Result<Deployment> {
    let image = Image { folder: arguments.image.clone(), tools: arguments.tools.clone() };
    let with_tpm = if arguments.tpm { WithTpm::Yes } else { WithTpm::No };
    let mut deployment = Deployment::prepare_with(&image, with_tpm)?;
    if !arguments.gpu.is_empty() {
        deployment.machine.gpus.clone_from(&arguments.gpu);
        deployment.machine.memory_mib = MEMORY_WITH_GPU_MIB;
    }
    deployment.machine.accelerator = choose(arguments.accelerator, &image, deployment.stand.path())?;
    say(&format!("launch digest, computed before the boot: {}", deployment.measurement));
    if let Some((_, policy)) = &deployment.tpm {
        for (pcr, value) in
            policy.pcrs.iter().flat_map(|(pcr, all)| all.iter().map(move |value| (pcr, value)))
        {
            say(&format!("PCR {pcr}, computed before the boot: {}", anchorhold_rats::hex(value)));
        }
    }
    match arguments.tee.as_deref() {
        None => {}
        Some("snp") => {
            deployment.machine.tee =
                Tee::Snp { firmware: image.file(files::FIRMWARE_SNP), cpu: CPU.to_owned() }
        }
        Some(_) => {
            deployment.machine.tee = Tee::Tdx { firmware: arguments.firmware.clone().unwrap_or_default() }
        }
    }
    Ok(deployment)
}

/// The files that were read before the boot must be all that firmware measured as settings in it, in PCR 1.
fn compare_tables(caller: &Caller, tables: &acpi::Tables) -> anyhow::Result<()> {
    let tpm = caller.server.result().claims().tpm.as_ref();
    let log = tpm.and_then(|tpm| tpm.log()).context("no event log of the TPM")?;
    let of_files: Vec<String> = tables.files().map(|(_, file)| sha256(file)).collect();
    let is_setting = |event: &&PcrEvent| event.pcr == 1 && event.kind == EventKind::PlatformConfigFlags;
    let of_log: Vec<String> =
        log.events().iter().filter(is_setting).map(|event| hex(&event.digest)).collect();
    ensure!(
        of_log == of_files,
        "firmware measured {of_log:?}, and the tables of ACPI that were read before are {of_files:?}"
    );
    let names: Vec<&str> = tables.files().map(|(name, _)| name).collect();
    say(&format!("ACPI: {} are in PCR 1 as they were read before the boot", names.join(", ")));
    Ok(())
}

/// What a client does: verify, then ask. Gives back how many checks passed, too.
async fn ask(booted: &Booted, policy: &AppraisalPolicy) -> anyhow::Result<(Caller, usize)> {
    let caller = Caller::verify_by(&booted.url, &booted.api_key, policy).await?;
    if let Some(tpm) = &caller.server.result().claims().tpm {
        let events = tpm.log().map_or(0, |log| log.events().len());
        let pcrs = policy.tpm.as_ref().map_or(0, |policy| policy.pcrs.len());
        say(&format!(
            "TPM: quote by key {}, {pcrs} PCRs as computed, event log of {events} events",
            tpm.key()
        ));
    }
    let vectors = caller.embed(EMBEDDING, &SENTENCES).await?;
    let [first, second, third] = vectors.as_slice() else {
        bail!("{} vectors for 3 sentences", vectors.len())
    };
    ensure!(
        cosine(first, second) > cosine(first, third),
        "heart and pulse are less alike than heart and stock market"
    );
    let checks = caller.server.result().checks().all().len();
    Ok((caller, checks))
}
