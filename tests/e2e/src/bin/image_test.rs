//! `anchorhold-image-test`: boots the image, and sees that what a host changes is measured and refused. `make image-test` runs it.
//!
//! Every check is one line of standard output; the last line counts them.

#[path = "image_test/host_inputs.rs"]
mod host_inputs;
#[path = "image_test/production.rs"]
mod production;
#[path = "image_test/unified.rs"]
mod unified;

use anchorhold_e2e::boot::{COMMENT, Deployment, Ended, Image, launch_digest};
use anchorhold_e2e::client::Caller;
use anchorhold_e2e::models::EMBEDDING;
use anchorhold_image_builder::build::{Inputs, build, files};
use anchorhold_image_builder::lock::Lock;
use anchorhold_image_builder::qemu::Machine;
use anchorhold_image_builder::table::{Flavour, Profile, Source, Table, is_in};
use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The goals of the image's size.
const MAX_BYTES: u64 = 60_000_000;
const MAX_EXECUTABLES: usize = 8;
const BLOCK: usize = 4096;

/// Boots the image, then boots it changed, one byte at a time.
#[derive(Debug, Parser)]
#[command(name = "anchorhold-image-test", version)]
struct Arguments {
    /// The folder of the image, of the flavour demo
    #[arg(long, value_name = "DIR")]
    image: PathBuf,
    /// The folder of the same image, of the flavour production
    #[arg(long, value_name = "DIR")]
    production: PathBuf,
    /// The folder that enclave-image/tools.sh made
    #[arg(long, value_name = "DIR")]
    tools: PathBuf,
    /// The folder of this repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    repository: PathBuf,
    /// The folder of the built programs
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// anchorhold-guest-init, linked statically
    #[arg(long, value_name = "FILE")]
    init: PathBuf,
    /// The folder that enclave-image/kernel.sh made
    #[arg(long, value_name = "DIR")]
    kernels: PathBuf,
    /// The compiled SELinux policy
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The same with one rule more
    #[arg(long, value_name = "FILE", requires = "policy")]
    other_policy: Option<PathBuf>,
    /// The folder of fetched packages
    #[arg(long, value_name = "DIR")]
    cache: PathBuf,
    /// How many checks were made before, to be counted with these
    #[arg(long, default_value_t = 0)]
    passed: usize,
    /// Make only the checks whose names hold this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(passed) => {
            say(&format!("{passed} checks of the image passed"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Nothing is left to tell it to when standard error is gone too.
            let _ = writeln!(std::io::stderr(), "anchorhold-image-test: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    // A reader who left wants no more lines.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Runs checks and counts them.
struct Checks<'a> {
    passed: usize,
    only: &'a str,
}

impl Checks<'_> {
    fn check(&mut self, name: &str, check: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<()> {
        if !name.contains(self.only) {
            return Ok(());
        }
        let told = check().with_context(|| name.to_owned())?;
        self.passed += 1;
        say(&format!("ok  {name}: {told}"));
        Ok(())
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<usize> {
    let image = Image { folder: arguments.image.clone(), tools: arguments.tools.clone() };
    let table = Table::read(&arguments.repository.join("enclave-image/rootfs.toml"))?;
    let mut checks = Checks { passed: arguments.passed, only: &arguments.only };
    checks.check("size", || size(&image, &table))?;
    checks.check("hash tree", || hash_tree(&image))?;
    let deployment = Deployment::prepare(&image)?;
    checks.check("main job", || main_job(&deployment))?;
    let changed = Changed { arguments, image: &image, deployment: &deployment, table };
    checks.check("a byte of the kernel", || changed.refused("kernel", |changed| changed.kernel()))?;
    checks.check("a byte of the initrd", || changed.refused("initrd", |changed| changed.initrd()))?;
    checks.check("a word of the command line", || {
        changed.refused("command line", |changed| changed.cmdline())
    })?;
    checks.check("a byte of the root", || changed.refused("root", |changed| changed.root()))?;
    if arguments.other_policy.is_some() {
        checks.check("a rule of the SELinux policy", || {
            changed.refused("policy", |changed| changed.policy())
        })?;
    }
    checks.check("production", || production::check(&deployment, &arguments.production))?;
    checks.check("what a host adds", || host_inputs::uninvited(&deployment))?;
    checks.check("a processor without RDRAND", || host_inputs::without_rdrand(&deployment))?;
    checks.check("a root disk that ends early", || host_inputs::short_disk(&deployment))?;
    checks.check("a byte of the root disk", || changed.panics(|changed| changed.disk()))?;
    checks.check("another root hash", || changed.panics(|changed| changed.root_hash()))?;
    checks.check("a host that lies to a guest with a TPM", || unified::lies(&image))?;
    Ok(checks.passed)
}

/// All files of an image that a machine needs, and what in its root can be executed.
fn size(image: &Image, table: &Table) -> anyhow::Result<String> {
    let length = |name: &str| Ok::<_, anyhow::Error>(std::fs::metadata(image.file(name))?.len());
    let bytes = length(files::KERNEL)? + length(files::INITRD)? + length(files::ROOT)?;
    let files = table.file.iter().filter(|file| is_in(file.only.as_deref(), Flavour::Demo, Profile::Server));
    let executables = files.filter(|file| file.mode == "555").count();
    ensure!(bytes <= MAX_BYTES, "{bytes} bytes, the goal is {MAX_BYTES}");
    ensure!(executables <= MAX_EXECUTABLES, "{executables} executables, the goal is {MAX_EXECUTABLES}");
    Ok(format!("{:.1} MB, {executables} executables", bytes as f64 / 1e6))
}

/// Another implementation of dm-verity finds the root hash that the command line names.
fn hash_tree(image: &Image) -> anyhow::Result<String> {
    let (blocks, salt, hash) = named_root(&std::fs::read_to_string(image.file(files::CMDLINE))?)?;
    let root = image.file(files::ROOT);
    let output = Command::new(image.tools.join("run/veritysetup"))
        .args(["verify", "--no-superblock", "--data-block-size=4096", "--hash-block-size=4096"])
        .arg(format!("--data-blocks={blocks}"))
        .arg(format!("--hash-offset={}", blocks * BLOCK))
        .args([&format!("--salt={salt}"), "--hash=sha256"])
        .args([&root, &root])
        .arg(&hash)
        .output()?;
    ensure!(output.status.success(), "veritysetup: {}", String::from_utf8_lossy(&output.stderr));
    Ok(format!("veritysetup agrees over {blocks} blocks"))
}

fn named_root(cmdline: &str) -> anyhow::Result<(usize, String, String)> {
    let value =
        cmdline.split(' ').find_map(|word| word.strip_prefix("anchorhold.root=")).context("no root")?;
    let mut parts = value.split(':').map(str::to_owned);
    let (Some(blocks), Some(salt), Some(hash)) = (parts.next(), parts.next(), parts.next()) else {
        bail!("{value} names no root")
    };
    Ok((blocks.parse()?, salt, hash))
}

fn main_job(deployment: &Deployment) -> anyhow::Result<String> {
    let booted = deployment.boot(&deployment.machine, |_| {})?.ready()?;
    let told = booted.stages.iter().find(|stage| stage["stage"] == "evidence").context("no evidence")?;
    let reported = told["measurement"].as_str().unwrap_or_default();
    ensure!(
        reported == deployment.measurement,
        "the guest reports {reported}, computed was {}",
        deployment.measurement
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let vectors = runtime.block_on(async {
        let caller = Caller::verify_at(&booted.url, &booted.api_key, &deployment.measurement).await?;
        caller.embed(EMBEDDING, &["Is this the guest that was measured?"]).await
    })?;
    let length = vectors.first().map_or(0, Vec::len);
    ensure!(length == 384, "a vector of {length} numbers");
    Ok(format!("attested, released, embedded in {:.1} s", booted.host_ms() / 1e3))
}

/// The machine with one thing changed.
struct Changed<'a> {
    arguments: &'a Arguments,
    image: &'a Image,
    deployment: &'a Deployment,
    table: Table,
}

impl Changed<'_> {
    /// The digest of the changed machine differs, and the guest that reports it gets no key.
    fn refused(
        &self,
        what: &str,
        change: impl FnOnce(&Self) -> anyhow::Result<Machine>,
    ) -> anyhow::Result<String> {
        let machine = change(self)?;
        let digest = launch_digest(self.image, &machine)?;
        ensure!(digest != self.deployment.measurement, "the launch digest does not depend on the {what}");
        let Ended { refusal, console, .. } = self.deployment.boot(&machine, |_| {})?.ended()?;
        ensure!(
            refusal.by == "key broker" && refusal.code == "snp_measurement",
            "the key broker must refuse with snp_measurement, but: {refusal:?}\n{console}"
        );
        Ok(format!("measured as {}..., refused with {}", digest.get(..16).unwrap_or_default(), refusal.code))
    }

    /// The guest stops before anything of it is heard.
    fn panics(&self, change: impl FnOnce(&Self) -> anyhow::Result<Machine>) -> anyhow::Result<String> {
        let machine = change(self)?;
        let Ended { console, .. } = self.deployment.boot(&machine, |_| {})?.ended()?;
        let last = console.lines().find(|line| line.contains("Kernel panic") && line.contains("dm-verity"));
        Ok(last.with_context(|| format!("dm-verity did not stop the guest: {console}"))?.trim().to_owned())
    }

    fn machine(&self) -> Machine {
        self.deployment.machine.clone()
    }

    /// A copy of a file in which one byte was changed.
    fn copy(
        &self,
        from: &Path,
        name: &str,
        at: impl FnOnce(&[u8]) -> Option<usize>,
    ) -> anyhow::Result<PathBuf> {
        let mut bytes = std::fs::read(from)?;
        let at = at(&bytes).context("there is nothing to change")?;
        *bytes.get_mut(at).context("beyond the end")? ^= 1;
        let to = self.deployment.stand.path().join(name);
        std::fs::write(&to, bytes)?;
        Ok(to)
    }

    /// One letter of the version that the kernel's header names, which changes nothing else.
    fn kernel(&self) -> anyhow::Result<Machine> {
        let version = self.table.kernel.release.as_bytes();
        let kernel = self.copy(&self.image.file(files::KERNEL), "other-kernel", |bytes| {
            bytes.get(..64 << 10)?.windows(version.len()).position(|window| window == version)
        })?;
        Ok(Machine { kernel, ..self.machine() })
    }

    /// One letter of a comment in the settings.
    fn initrd(&self) -> anyhow::Result<Machine> {
        let initrd = self.copy(&self.deployment.machine.initrd, "other-initrd", |bytes| {
            bytes.windows(COMMENT.len()).rposition(|window| window == COMMENT.as_bytes()).map(|at| at + 2)
        })?;
        Ok(Machine { initrd, ..self.machine() })
    }

    fn cmdline(&self) -> anyhow::Result<Machine> {
        let machine = self.machine();
        let cmdline = machine.cmdline.replacen("panic=-1 ", "panic=-1 nosmt ", 1);
        Ok(Machine { cmdline, ..machine })
    }

    fn root(&self) -> anyhow::Result<Machine> {
        let mut table = self.table.clone();
        for file in &mut table.file {
            if let Source::Text(text) = &mut file.source {
                text.push('\n');
            }
        }
        self.rebuilt(&table, self.arguments.policy.as_deref(), "other-root")
    }

    fn policy(&self) -> anyhow::Result<Machine> {
        self.rebuilt(&self.table, self.arguments.other_policy.as_deref(), "other-policy")
    }

    /// The image built again from something else, with the same settings.
    fn rebuilt(&self, table: &Table, policy: Option<&Path>, name: &str) -> anyhow::Result<Machine> {
        let Arguments { repository, programs, init, kernels, tools, cache, .. } = self.arguments;
        let lock = Lock::read(&repository.join("enclave-image/image.lock"))?;
        let out = self.deployment.stand.path().join(name);
        build(&Inputs {
            table,
            lock: &lock,
            flavour: Flavour::Demo,
            profile: Profile::Server,
            repository,
            programs,
            init,
            kernels,
            policy,
            tools,
            cache,
            mirror: None,
            jobs: 2,
            out: &out,
        })?;
        let cmdline = std::fs::read_to_string(out.join(files::CMDLINE))?;
        Ok(Machine { cmdline, root: out.join(files::ROOT), ..self.machine() })
    }

    /// The middle of the data, which is in one of the programs.
    fn disk(&self) -> anyhow::Result<Machine> {
        let (blocks, ..) = named_root(&self.deployment.machine.cmdline)?;
        let root = self.copy(&self.image.file(files::ROOT), "other-disk", |_| Some(blocks * BLOCK / 2))?;
        Ok(Machine { root, ..self.machine() })
    }

    fn root_hash(&self) -> anyhow::Result<Machine> {
        let machine = self.machine();
        let (_, _, hash) = named_root(&machine.cmdline)?;
        let other = hash.replace(|digit: char| digit.is_ascii_digit(), "7");
        Ok(Machine { cmdline: machine.cmdline.replace(&hash, &other), ..machine })
    }
}
