//! `anchorhold-supply-chain`: writes and verifies what an image is made of and how, and asks advisory databases about it.

use anchorhold_dsse::{MAX_ENVELOPE_BYTES, SigningKey, TrustedSigners};
use anchorhold_rats::{Ed25519PublicKey, Sha256Digest, Timestamp};
use anchorhold_supply_chain::advisories::debian::{MAX_TRACKER_BYTES, Tracker};
use anchorhold_supply_chain::advisories::rustsec::{Advisory, MAX_ADVISORY_BYTES};
use anchorhold_supply_chain::advisories::{Finding, Weight};
use anchorhold_supply_chain::provenance::{File, PAYLOAD_TYPE, Statement};
use anchorhold_supply_chain::{Component, cargo, debian, sbom};
use anyhow::{Context as _, bail, ensure};
use clap::Parser as _;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

/// The largest file of an image that is hashed, in bytes.
const MAX_FILE_BYTES: usize = 4 << 30;
/// The most advisories of one database.
const MAX_ADVISORIES: usize = 100_000;
const MAX_KEY_BYTES: usize = 1024;
/// The permissions of everybody but the owner.
const OTHERS: u32 = 0o077;

/// What an image is made of, how it was made, and which advisories are about it
#[derive(clap::Parser)]
enum Command {
    /// Write the crates and Debian packages of an image as CycloneDX
    Sbom {
        /// What `cargo metadata --format-version 1` wrote
        #[arg(long, value_name = "FILE")]
        metadata: PathBuf,
        /// Cargo.lock
        #[arg(long, value_name = "FILE")]
        lock: PathBuf,
        /// image.lock, and gpu.lock for an image with GPUs; repeat for each
        #[arg(long, value_name = "FILE", required = true)]
        packages: Vec<PathBuf>,
        /// A program of ours that is in the image, as `anchorhold-image programs` lists them; repeat for each
        #[arg(long, value_name = "NAME", required = true)]
        program: Vec<String>,
        /// What the image is called
        #[arg(long, value_name = "NAME")]
        name: String,
        /// Its version
        #[arg(long, value_name = "VERSION")]
        version: String,
        /// The time that the list says
        #[arg(long, value_name = "TIME")]
        at: Timestamp,
    },
    /// Write who made which files from what, as SLSA provenance, signed if a key is named
    Provenance {
        /// A file that was made: the image's, its reference values, its list of components
        #[arg(long, value_name = "NAME=PATH", required = true)]
        subject: Vec<Named>,
        /// A file that it was made from: lock files, sources, tools
        #[arg(long, value_name = "NAME=PATH")]
        material: Vec<Named>,
        /// What was asked of the build, such as flavour=production
        #[arg(long, value_name = "NAME=VALUE")]
        parameter: Vec<Named>,
        /// The key that `anchorhold owner new` made
        #[arg(long, value_name = "FILE")]
        sign: Option<PathBuf>,
    },
    /// Verify signed provenance, and hold files against it
    Verify {
        /// What `provenance --sign` wrote
        provenance: PathBuf,
        /// A key that is trusted, in hex; repeat for each
        #[arg(long, value_name = "HEX", required = true)]
        signer: Vec<Ed25519PublicKey>,
        /// How many of them must have signed
        #[arg(long, value_name = "N", default_value_t = 1)]
        threshold: usize,
        /// A file by its name in the provenance
        #[arg(long, value_name = "NAME=PATH", required = true)]
        file: Vec<Named>,
    },
    /// List the advisories that are about an image, and what a rebuild would change; exits with 4 when there is a weakness
    Advisories {
        /// What `sbom` wrote
        #[arg(long, value_name = "FILE")]
        sbom: PathBuf,
        /// A folder with RustSec's advisory database
        #[arg(long, value_name = "FOLDER")]
        rustsec: Option<PathBuf>,
        /// Debian's security tracker as JSON
        #[arg(long, value_name = "FILE")]
        debian: Option<PathBuf>,
        /// The release of Debian that the packages are from
        #[arg(long, value_name = "NAME", default_value = "trixie")]
        release: String,
    },
}

/// `kernel=vmlinuz`.
#[derive(Debug, Clone)]
struct Named {
    name: String,
    value: String,
}

impl FromStr for Named {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err("wanted a name, = and a value"),
        }
    }
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(code) => code,
        Err(error) => {
            // A lost message is no failure beyond the one that it is about.
            let _ = writeln!(std::io::stderr(), "anchorhold-supply-chain: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Sbom { metadata, lock, packages, program, name, version, at } => {
            let programs: Vec<&str> = program.iter().map(String::as_str).collect();
            let metadata = text(&metadata, cargo::MAX_METADATA_BYTES)?;
            let crates = cargo::components(&metadata, &text(&lock, cargo::MAX_LOCK_BYTES)?, &programs)?;
            let mut components = crates;
            for lock in packages {
                components.extend(debian::components(&text(&lock, debian::MAX_LOCK_BYTES)?)?);
            }
            print(sbom::write(&name, &version, at, &components).as_bytes())?;
        }
        Command::Provenance { subject, material, parameter, sign } => {
            let statement = Statement {
                subjects: files(&subject)?,
                materials: files(&material)?,
                parameters: parameter.into_iter().map(|Named { name, value }| (name, value)).collect(),
            };
            let json = statement.to_json();
            // What no reader takes is not signed.
            Statement::from_json(&json)?;
            let signed = match sign {
                None => json.into_bytes(),
                Some(path) => {
                    let key = SigningKey::from_pkcs8(&secret(&path, MAX_KEY_BYTES)?)?;
                    anchorhold_dsse::sign(PAYLOAD_TYPE, json.as_bytes(), &[&key])?
                }
            };
            print(&signed)?;
        }
        Command::Verify { provenance, signer, threshold, file } => {
            let keys: Vec<[u8; 32]> = signer.iter().map(|key| *key.as_bytes()).collect();
            let trusted = TrustedSigners::of(&keys, threshold)?;
            let verified =
                anchorhold_dsse::verify(&bytes(&provenance, MAX_ENVELOPE_BYTES)?, PAYLOAD_TYPE, &trusted)?;
            let statement = Statement::from_json(std::str::from_utf8(verified.payload())?)?;
            for file in files(&file)? {
                match statement.names(&file.name, &file.sha256) {
                    Some(true) => print(format!("{}: is the one that was made\n", file.name).as_bytes())?,
                    Some(false) => {
                        bail!("{}: sha256:{} is not the one that was made", file.name, file.sha256)
                    }
                    None => bail!("no file {} was made", file.name),
                }
            }
        }
        Command::Advisories { sbom, rustsec, debian, release } => {
            let components = sbom::read(&text(&sbom, sbom::MAX_SBOM_BYTES)?)?;
            let found = findings(&components, rustsec.as_deref(), debian.as_deref(), &release)?;
            print(report(&found).as_bytes())?;
            if found.iter().any(|finding| finding.weight == Weight::Vulnerable) {
                return Ok(ExitCode::from(4));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn findings(
    components: &[Component],
    rustsec: Option<&Path>,
    debian: Option<&Path>,
    release: &str,
) -> anyhow::Result<Vec<Finding>> {
    ensure!(rustsec.is_some() || debian.is_some(), "name --rustsec or --debian");
    let mut out = Vec::new();
    if let Some(folder) = rustsec {
        for path in advisories(folder)? {
            let advisory = Advisory::parse(&text(&path, MAX_ADVISORY_BYTES)?);
            out.extend(advisory.with_context(|| path.display().to_string())?.findings(components));
        }
    }
    if let Some(path) = debian {
        let tracker = Tracker::parse(&text(path, MAX_TRACKER_BYTES)?, components)?;
        out.extend(tracker.findings(components, release));
    }
    out.sort();
    Ok(out)
}

/// The files `crates/NAME/RUSTSEC-*.md` of the database, in order.
fn advisories(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    let crates = folder.join("crates");
    for of_crate in std::fs::read_dir(&crates).with_context(|| crates.display().to_string())? {
        for file in std::fs::read_dir(of_crate?.path())? {
            let path = file?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("RUSTSEC-") && name.ends_with(".md") {
                out.push(path);
            }
        }
        ensure!(out.len() <= MAX_ADVISORIES, "{}: more than {MAX_ADVISORIES} advisories", folder.display());
    }
    ensure!(!out.is_empty(), "{}: no advisory is there", crates.display());
    out.sort();
    Ok(out)
}

fn report(found: &[Finding]) -> String {
    let mut out = String::new();
    for Finding { weight, id, name, version, fixed, title, .. } in found {
        let weight = if *weight == Weight::Vulnerable { "WEAKNESS" } else { "remark" };
        let change = if fixed.is_empty() {
            "no fix yet".to_owned()
        } else {
            format!("rebuild with {}", fixed.join(" or "))
        };
        out.push_str(&format!("{weight:8} {id} {name} {version}: {change}: {title}\n"));
    }
    let weaknesses = found.iter().filter(|finding| finding.weight == Weight::Vulnerable);
    let (count, fixed) = weaknesses
        .fold((0, 0), |(count, fixed), one| (count + 1, fixed + usize::from(!one.fixed.is_empty())));
    out.push_str(&format!(
        "{count} weaknesses, {fixed} of which a rebuild would fix; {} remarks\n",
        found.len() - count
    ));
    out
}

fn files(named: &[Named]) -> anyhow::Result<Vec<File>> {
    let file = |Named { name, value }: &Named| {
        let content = bytes(Path::new(value), MAX_FILE_BYTES)?;
        Ok(File { name: name.clone(), sha256: Sha256Digest::of(&content) })
    };
    named.iter().map(file).collect()
}

/// A file that nobody but its owner can read. The open file is asked, so that no other takes its place in between.
fn secret(path: &Path, limit: usize) -> anyhow::Result<Vec<u8>> {
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let mode = file.metadata()?.mode();
    ensure!(
        mode & OTHERS == 0,
        "{}: others may read the key (mode {:o}): chmod 600 it",
        path.display(),
        mode & 0o777
    );
    whole(file, limit).with_context(|| path.display().to_string())
}

fn bytes(path: &Path, limit: usize) -> anyhow::Result<Vec<u8>> {
    std::fs::File::open(path)
        .map_err(anyhow::Error::from)
        .and_then(|file| whole(file, limit))
        .with_context(|| path.display().to_string())
}

fn whole(file: std::fs::File, limit: usize) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut out)?;
    ensure!(out.len() <= limit, "over the limit of {limit} bytes");
    Ok(out)
}

fn text(path: &Path, limit: usize) -> anyhow::Result<String> {
    String::from_utf8(bytes(path, limit)?).with_context(|| path.display().to_string())
}

fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).context("stdout")
}
