//! The main job with a real guest: the image in a virtual machine, and everything else on this machine around it.
//!
//! The host is hostile by design, so it does what hosts do: it chooses what is booted. In the image of the demonstration it also plays
//! the firmware of an SNP machine and tells the guest the launch digest of the files that it really hands over.

use crate::guest::{Places, Refusal, Settings, refusal};
use crate::models::{self, EMBEDDING};
use crate::port::free_loopback_port;
use crate::process::Process;
use crate::refusals::Stand;
use crate::store::PackageStore;
use crate::tpm::{self, EmulatedTpm, Running};
use anchorhold_image_builder::acpi;
use anchorhold_image_builder::build::files;
use anchorhold_image_builder::qemu::{self, Accelerator, Machine, Tee};
use anchorhold_image_builder::{settings as deployment, uki};
use anchorhold_measure::snp::{self, Hypervisor, Launch, SNP_ACTIVE};
use anchorhold_measure::{DirectBoot, UnifiedKernel, boot as measured};
use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long the guest may say nothing.
const SILENCE: Duration = Duration::from_secs(120);
/// Where the guest finds this machine's loopback: QEMU's user-mode network.
const HOST: &str = "10.0.2.2";
/// How the settings of the guest begin.
pub const COMMENT: &str = "# The guest of the demonstration.\n";
const GUEST_TOML: &str = "[network]\ninterface = \"eth0\"\naddress = \"10.0.2.15\"\nprefix = 24\ngateway = \"10.0.2.2\"\n\n\
                          [memory]\nstate_mib = 256\nserving_mib = 768\npids = 512\n";
/// The port of the guest's gateway.
const PORT: u16 = 8443;
const CPUS: u16 = 2;
const MEMORY_MIB: u32 = 1024;
/// The processor of SNP guests, in whose registers the launch digest begins.
pub const CPU: &str = "EPYC-v4";
/// What a worker may take of that.
const WORKER_GROUP: &str = "memory_mib = 384\npids = 24\ncpu_percent = 200\n";
const BROKER_CERTIFICATE: &str = "broker.pem";

/// An image and what is needed to boot it.
#[derive(Debug, Clone)]
pub struct Image {
    /// The folder that `anchorhold-image build` wrote.
    pub folder: PathBuf,
    /// The folder that `enclave-image/tools.sh` made.
    pub tools: PathBuf,
}

impl Image {
    /// The path of one of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Owner, broker and store around a guest that is not started yet.
#[derive(Debug)]
pub struct Deployment {
    /// Owner and broker, which serves. Its policy names [`measurement`](Self::measurement).
    pub stand: Stand,
    /// What is to be booted.
    pub machine: Machine,
    /// The launch digest of an SNP guest made of exactly these files, hex, computed before any boot.
    pub measurement: String,
    /// The guest's TPM, and what its quotes must show, computed before any boot.
    pub tpm: Option<(EmulatedTpm, anchorhold_verifier::tpm::Policy)>,
    image: Image,
    api_key: String,
    // Serves as long as it is kept.
    _store: PackageStore,
}

/// Whether a guest has a TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithTpm {
    /// It has one, and the policies demand its quote.
    Yes,
    /// The same for a guest that is started as a unified kernel image.
    Unified,
    /// It has none.
    No,
}

/// The machine, among the tools.
const QEMU: &str = "run/qemu-system-x86_64";
/// Firmware that measures into a TPM, among the tools.
const OVMF: &str = "usr/share/ovmf/OVMF.fd";

/// The launch digest of an SNP guest that is started with these files, hex.
pub fn launch_digest(image: &Image, machine: &Machine) -> anyhow::Result<String> {
    let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    let firmware = read(&image.file(files::FIRMWARE_SNP))?;
    let (kernel, initrd) = (read(&machine.kernel)?, read(&machine.initrd)?);
    let direct_boot = DirectBoot { kernel: &kernel, initrd: &initrd, command_line: &machine.cmdline };
    let launch = Launch {
        firmware: &firmware,
        direct_boot: Some(direct_boot),
        vcpus: machine.cpus.into(),
        vcpu_type: CPU.parse()?,
        features: SNP_ACTIVE,
        hypervisor: Hypervisor::Qemu,
    };
    Ok(snp::launch_digest(&launch)?.to_string())
}

impl Deployment {
    /// Seals the embedding model, writes the guest's settings into an initrd, computes what will be measured, and lets the broker serve
    /// with a policy that names it.
    pub fn prepare(image: &Image) -> anyhow::Result<Self> {
        Self::prepare_with(image, WithTpm::No)
    }

    /// The same, for a guest with or without a TPM.
    pub fn prepare_with(image: &Image, with_tpm: WithTpm) -> anyhow::Result<Self> {
        let mut stand = Stand::new()?;
        let sealed = stand.seal(&models::embedding()?, (EMBEDDING, 1))?;
        let packages = sealed.package.parent().context("no parent")?;
        let name = sealed.package.file_name().context("no name")?.to_string_lossy().into_owned();
        let store = PackageStore::start(packages)?;
        let broker_port = free_loopback_port()?;
        stand.broker.listen_on(([127, 0, 0, 1], broker_port).into());

        let mut settings = Settings::new(&stand.broker, &stand.owner, std::slice::from_ref(&sealed))?;
        let places = Places {
            programs: "/usr/bin".into(),
            settings: "/etc/anchorhold".into(),
            state: "/run/anchorhold".into(),
        };
        settings.broker_url = format!("https://{HOST}:{broker_port}");
        let certificate =
            std::mem::replace(&mut settings.broker_certificate, places.settings.join(BROKER_CERTIFICATE));
        settings.listen = format!("0.0.0.0:{PORT}");
        settings.launch_digest_file = Some(places.state.join("simulated-launch-digest"));
        settings.fetch_with(
            &places.programs.join("anchorhold-fetcher"),
            &places.state.join("cache"),
            &[format!("http://{HOST}:{}/{name}", store.port())],
        );
        settings.replace_in_store("cache_max_bytes = 1073741824", "cache_max_bytes = 134217728");
        let collector = places.programs.join("anchorhold-collector");
        settings.collector = Some(format!("program = {:?}\n", collector.to_string_lossy()));
        // The attester is simulated; what holds the processes is not.
        settings.production = true;
        settings.group = Some(WORKER_GROUP.to_owned());
        if with_tpm != WithTpm::No {
            settings.quoted_pcrs = (0..anchorhold_verifier::tpm::PCRS).collect();
        }
        let folder = stand.path().join("settings");
        std::fs::create_dir(&folder)?;
        settings.write(&places, &folder)?;
        std::fs::copy(certificate, folder.join(BROKER_CERTIFICATE))?;
        std::fs::write(folder.join("guest.toml"), format!("{COMMENT}{GUEST_TOML}"))?;

        let initrd = stand.path().join("initrd");
        deployment::append(&image.folder, &folder, &initrd)?;
        let mut machine = machine(image, initrd, stand.path().join("console"))?;
        if with_tpm == WithTpm::Unified {
            let unified = stand.path().join("unified.efi");
            uki::write(&image.folder, &machine.initrd, &image.tools, &unified)?;
            machine.unified = Some(unified);
        }
        let measurement = launch_digest(image, &machine)?;
        let tpm = match with_tpm {
            WithTpm::No => None,
            WithTpm::Yes | WithTpm::Unified => {
                let tpm = EmulatedTpm::make(&image.tools.join("run/swtpm"), &stand.path().join("tpm"))?;
                let policy = expected_of(&tpm, &machine)?;
                Some((tpm, policy))
            }
        };
        let more = tpm.as_ref().map_or_else(String::new, |(_, policy)| tpm::grant(policy));
        stand.serve_by(&[sealed], &measurement, &more)?;
        Ok(Self {
            stand,
            machine,
            measurement,
            tpm,
            image: image.clone(),
            api_key: settings.api_key,
            _store: store,
        })
    }

    /// The tables of ACPI that firmware will measure into the guest's TPM, out of another start of the same machine with nothing to boot.
    pub fn tables(&self) -> anyhow::Result<Option<acpi::Tables>> {
        let Some((tpm, _)) = &self.tpm else { return Ok(None) };
        let running = tpm.turn_on()?;
        let machine = Machine { tpm: Some(self.with_firmware(&running)), ..self.machine.clone() };
        let qemu = self.image.tools.join(QEMU);
        acpi::read(&qemu, &machine, self.stand.path()).map(Some)
    }

    fn with_firmware(&self, running: &Running) -> qemu::Tpm {
        qemu::Tpm { firmware: self.image.tools.join(OVMF), control: running.control.clone() }
    }

    /// Boots `machine`, which need not be the one that the policy names, and tells the guest the digest of what it is; `hear` is told
    /// each stage.
    pub fn boot(&self, machine: &Machine, hear: impl FnMut(&Value)) -> anyhow::Result<Boot> {
        self.boot_as(machine, launch_digest(&self.image, machine)?, hear)
    }

    /// The same, by a host that tells the guest this digest, whatever it boots. It cannot tell the TPM what to measure.
    pub fn boot_as(
        &self,
        machine: &Machine,
        simulated_digest: String,
        hear: impl FnMut(&Value),
    ) -> anyhow::Result<Boot> {
        let tpm = self.tpm.as_ref().map(|(tpm, _)| tpm.turn_on()).transpose()?;
        let port = free_loopback_port()?;
        let machine = Machine {
            forward: Some((port, PORT)),
            simulated_digest: Some(simulated_digest),
            tpm: tpm.as_ref().map(|running| self.with_firmware(running)),
            ..machine.clone()
        };
        let mut command = Command::new(self.image.tools.join(QEMU));
        command.args(qemu::arguments(&machine));
        let started = Instant::now();
        let process = Process::start(command, &self.stand.path().join("qemu.stderr"))?;
        let mut booted = Booted {
            process,
            started,
            stages: Vec::new(),
            words: String::new(),
            url: format!("https://127.0.0.1:{port}"),
            api_key: self.api_key.clone(),
            _tpm: tpm,
        };
        if booted.listen(hear)? {
            return Ok(Boot::Ready(Box::new(booted)));
        }
        // A guest that was refused switches itself off.
        booted.process.wait(SILENCE)?;
        let console = std::fs::read_to_string(&machine.console).unwrap_or_default();
        let stderr = booted.words.clone() + &booted.process.stderr_text();
        let refusal = refusal(&of_keeper(&booted.stages), &stderr);
        Ok(Boot::Ended(Box::new(Ended { refusal, console, words: booted.words, stages: booted.stages })))
    }
}

/// What the TPM's quotes must show after a boot of this machine.
fn expected_of(tpm: &EmulatedTpm, machine: &Machine) -> anyhow::Result<anchorhold_verifier::tpm::Policy> {
    let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    if let Some(unified) = &machine.unified {
        let unified = read(unified)?;
        return tpm.policy(&measured::Boot::Unified(&UnifiedKernel::parse(&unified)?));
    }
    let (kernel, initrd) = (read(&machine.kernel)?, read(&machine.initrd)?);
    let direct = DirectBoot { kernel: &kernel, initrd: &initrd, command_line: &machine.cmdline };
    tpm.policy(&measured::Boot::Direct(direct))
}

fn machine(image: &Image, initrd: PathBuf, console: PathBuf) -> anyhow::Result<Machine> {
    Ok(Machine {
        tee: Tee::None,
        accelerator: Accelerator::Tcg,
        cpus: CPUS,
        memory_mib: MEMORY_MIB,
        kernel: image.file(files::KERNEL),
        initrd,
        cmdline: std::fs::read_to_string(image.file(files::CMDLINE)).context("the image's command line")?,
        unified: None,
        root: image.file(files::ROOT),
        forward: None,
        console,
        simulated_digest: None,
        tpm: None,
        gpus: Vec::new(),
        uninvited: Vec::new(),
    })
}

/// How a boot went.
#[derive(Debug)]
pub enum Boot {
    /// The guest serves.
    Ready(Box<Booted>),
    /// The guest ended before.
    Ended(Box<Ended>),
}

/// A guest that ended.
#[derive(Debug)]
pub struct Ended {
    /// Who ended it.
    pub refusal: Refusal,
    /// What it said on its console.
    pub console: String,
    /// What its processes wrote to standard error.
    pub words: String,
    /// What first process and keeper told.
    pub stages: Vec<Value>,
}

impl Ended {
    /// Writes the audit logs that the guest handed out into `folder`, each in one of its own.
    pub fn write_logs(&self, folder: &Path) -> anyhow::Result<()> {
        use std::io::Write as _;
        for told in self.stages.iter().filter(|stage| stage["stage"] == "log") {
            let (name, hex) =
                (told["file"].as_str().context("no name")?, told["hex"].as_str().context("no bytes")?);
            let is_below = name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
            ensure!(is_below, "{name} is no file of a log");
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().context("no parent")?)?;
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
            file.write_all(&bytes_of(hex)?)?;
        }
        Ok(())
    }
}

fn bytes_of(hex: &str) -> anyhow::Result<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}

impl Boot {
    /// The guest, which must serve.
    pub fn ready(self) -> anyhow::Result<Booted> {
        match self {
            Self::Ready(booted) => Ok(*booted),
            Self::Ended(ended) => bail!("{:?}\n{}", ended.refusal, ended.console),
        }
    }

    /// How it ended, which it must have.
    pub fn ended(self) -> anyhow::Result<Ended> {
        match self {
            Self::Ended(ended) => Ok(*ended),
            Self::Ready(booted) => bail!("the guest serves on {}", booted.url),
        }
    }
}

/// A guest in a virtual machine that serves. It is switched off when this value is dropped.
#[derive(Debug)]
pub struct Booted {
    process: Process,
    started: Instant,
    /// What first process and keeper told, each with `host_ms`, the time since QEMU was started.
    pub stages: Vec<Value>,
    /// Everything else that came on the same line.
    words: String,
    /// Where the gateway listens, on this machine.
    pub url: String,
    /// A key of tenant `demo`.
    pub api_key: String,
    // Ends after the machine.
    _tpm: Option<Running>,
}

impl Booted {
    /// Reads stages until the guest serves; false when it ended before.
    fn listen(&mut self, mut hear: impl FnMut(&Value)) -> anyhow::Result<bool> {
        while let Some(line) = self.process.line(SILENCE)? {
            // UEFI firmware leaves its last line open, so the first stage stands behind it.
            let text = line.find('{').and_then(|at| line.get(at..)).unwrap_or(&line).trim();
            let stage = serde_json::from_str::<Value>(text).ok().filter(|stage| stage["stage"].is_string());
            let Some(mut stage) = stage else {
                self.words.push_str(line.trim_end());
                self.words.push('\n');
                continue;
            };
            stage["host_ms"] = json!(self.host_ms());
            hear(&stage);
            let is_ready = stage["stage"] == "ready";
            self.stages.push(stage);
            if is_ready {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Milliseconds since QEMU was started.
    #[must_use]
    pub fn host_ms(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1e3
    }

    /// When a stage was reached, in milliseconds since QEMU was started.
    pub fn reached(&self, stage: &str) -> anyhow::Result<f64> {
        let found = self.stages.iter().find(|told| told["stage"] == stage);
        found
            .and_then(|told| told["host_ms"].as_f64())
            .with_context(|| format!("the guest told no stage {stage}"))
    }
}

/// Of what was told, what the keeper told: the first process says less, and nothing of who refused.
fn of_keeper(stages: &[Value]) -> Vec<Value> {
    stages.iter().filter(|stage| stage.get("at_ms").is_some()).cloned().collect()
}

/// Refuses to boot as a guest of a TEE on a machine that is no host of one.
pub fn require_host(tee: &str) -> anyhow::Result<()> {
    let (file, wanted) = match tee {
        "snp" => ("/sys/module/kvm_amd/parameters/sev_snp", "Y"),
        "tdx" => ("/sys/module/kvm_intel/parameters/tdx", "Y"),
        _ => bail!("{tee} is neither snp nor tdx"),
    };
    let found = std::fs::read_to_string(file).unwrap_or_default();
    ensure!(found.trim() == wanted, "this machine is no host of {tee} guests: {file} does not say {wanted}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_is_no_host_of_a_tee_is_refused() {
        assert!(require_host("sgx").unwrap_err().to_string().contains("neither"));
        for (tee, module) in [("snp", "kvm_amd"), ("tdx", "kvm_intel")] {
            if !Path::new("/sys/module").join(module).exists() {
                assert!(require_host(tee).unwrap_err().to_string().contains("no host of"), "{tee}");
            }
        }
    }

    #[test]
    fn the_keepers_stages_alone_say_who_ended_a_start() {
        let told = [
            json!({"stage": "refused", "at_ms": 2.0, "error": {"code": "snp_measurement"}}),
            json!({"stage": "checked", "boot_ms": 1}),
        ];
        let refusal = refusal(&of_keeper(&told), "anchorhold-keeper: error: no\n");
        assert_eq!((refusal.by.as_str(), refusal.code.as_str()), ("key broker", "snp_measurement"));
    }
}
