//! From the tables to the files that are booted.

use crate::cpio::Archive;
use crate::lock::Lock;
use crate::table::{Flavour, Profile, Source, Table, is_in};
use crate::tar::{self, Entry, Kind};
use crate::verity::{self, Tree};
use crate::{hex, sha256};
use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What [`build`] writes into its folder.
pub mod files {
    /// The kernel.
    pub const KERNEL: &str = "kernel";
    /// The initrd without a deployment's settings.
    pub const INITRD: &str = "initrd";
    /// The root and its hash tree.
    pub const ROOT: &str = "root";
    /// The kernel's command line, without a line end.
    pub const CMDLINE: &str = "cmdline";
    /// The firmware of an SNP guest.
    pub const FIRMWARE_SNP: &str = "firmware-snp";
    /// The stub of a unified kernel image.
    pub const STUB: &str = "stub";
    /// What the image is made of.
    pub const MANIFEST: &str = "image.json";
}

/// The first process, in the initrd as well as in the root.
const INIT: &str = "anchorhold-guest-init";
const FLAVOUR: &str = "usr/lib/anchorhold/flavour";
const MODULES: &str = "usr/lib/anchorhold/modules";

/// What an image is built from and into.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// What is in it.
    pub table: &'a Table,
    /// Which packages that comes from.
    pub lock: &'a Lock,
    /// What it is for.
    pub flavour: Flavour,
    /// Which machine it is for.
    pub profile: Profile,
    /// The folder of this repository.
    pub repository: &'a Path,
    /// The folder of the programs.
    pub programs: &'a Path,
    /// The first process, which is linked statically: the initrd has no libraries.
    pub init: &'a Path,
    /// The folder of the kernels, as `kernel.sh` builds them.
    pub kernels: &'a Path,
    /// The compiled SELinux policy.
    pub policy: Option<&'a Path>,
    /// The folder of tools, as `tools.sh` makes it.
    pub tools: &'a Path,
    /// The folder of fetched packages.
    pub cache: &'a Path,
    /// Where packages that are not in it come from.
    pub mirror: Option<&'a str>,
    /// Threads of the tools that can use several.
    pub jobs: usize,
    /// Where the image goes.
    pub out: &'a Path,
}

/// Builds an image and gives back what its manifest says.
pub fn build(inputs: &Inputs<'_>) -> anyhow::Result<serde_json::Value> {
    std::fs::create_dir_all(inputs.out)?;
    let packages = Packages::unpack(inputs)?;
    let (root, tree) = root(inputs, &packages)?;
    let kernel = read(&inputs.kernels.join(inputs.profile.kernel(inputs.flavour)))?;
    let initrd = initrd(inputs)?;
    let cmdline = cmdline(inputs, &tree);
    let mut manifest = json!({
        "flavour": inputs.flavour, "profile": inputs.profile, "epoch": inputs.lock.epoch, "root_hash": hex(&tree.root_hash),
        "packages": packages.versions,
    });
    let mut written = vec![
        (files::KERNEL, kernel),
        (files::INITRD, initrd),
        (files::ROOT, root),
        (files::CMDLINE, cmdline.into_bytes()),
    ];
    for beside in &inputs.table.beside {
        written.push((&beside.name, packages.file(&beside.package.name, &beside.package.file)?));
    }
    for (name, bytes) in &written {
        std::fs::write(inputs.out.join(name), bytes)?;
        if let Some(manifest) = manifest.as_object_mut() {
            manifest.insert((*name).to_owned(), json!({ "sha256": sha256(bytes), "bytes": bytes.len() }));
        }
    }
    std::fs::write(inputs.out.join(files::MANIFEST), serde_json::to_string_pretty(&manifest)? + "\n")?;
    Ok(manifest)
}

/// The packages that this image takes something from, unpacked without running anything of theirs.
struct Packages {
    folder: PathBuf,
    versions: BTreeMap<String, String>,
}

impl Packages {
    fn unpack(inputs: &Inputs<'_>) -> anyhow::Result<Self> {
        let folder = inputs.out.join("unpacked");
        // What kernel and driver are built from is said, and not unpacked again.
        let mut versions = BTreeMap::new();
        let driver = (inputs.profile == Profile::Gpu).then_some(&inputs.table.driver.source);
        for source in [&inputs.table.kernel.source].into_iter().chain(driver) {
            versions.insert(source.clone(), inputs.lock.package(source)?.version.clone());
        }
        let of_files = inputs.table.file.iter().filter_map(|file| match &file.source {
            Source::Package(package) if is_in(file.only.as_deref(), inputs.flavour, inputs.profile) => {
                Some(&package.name)
            }
            _ => None,
        });
        let beside = inputs.table.beside.iter().map(|beside| &beside.package.name);
        for name in of_files.chain(beside) {
            if versions.contains_key(name) {
                continue;
            }
            let package = inputs.lock.package(name)?;
            let file = package.fetch(inputs.cache, inputs.mirror)?;
            let to = folder.join(name);
            std::fs::create_dir_all(&to)?;
            run(Command::new("dpkg-deb").arg("-x").arg(file).arg(&to), &[])?;
            versions.insert(name.clone(), package.version.clone());
        }
        Ok(Self { folder, versions })
    }

    fn file(&self, package: &str, file: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.folder.join(package).join(file);
        std::fs::read(&path).with_context(|| format!("{package} has no {file}"))
    }
}

impl Drop for Packages {
    fn drop(&mut self) {
        // What is left over takes room and does no harm.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The root file system with its hash tree.
fn root(inputs: &Inputs<'_>, packages: &Packages) -> anyhow::Result<(Vec<u8>, Tree)> {
    let entries = entries(inputs, packages)?;
    let (tar_path, image_path) = (inputs.out.join("root.tar"), inputs.out.join("root.erofs"));
    std::fs::write(&tar_path, tar::write(&entries, inputs.lock.epoch)?)?;
    // Small images are for little memory, so they are packed tighter; lz4 costs a server the least at every read.
    let packing = match inputs.profile {
        Profile::Server | Profile::Gpu => ["-zlz4hc,12", "-C65536"],
        Profile::Small => ["-zdeflate,level=9", "-C131072"],
    };
    // Without `fragments`: the file that holds them gets its mode from the mask of whoever builds.
    let mut make = Command::new(inputs.tools.join("run/mkfs.erofs"));
    make.arg("--quiet").arg("--tar=f").args(packing).arg(format!("-T{}", inputs.lock.epoch));
    make.arg(format!("-U{}", inputs.table.uuid))
        .arg(format!("--workers={}", inputs.jobs))
        .arg("-Ededupe,ztailpacking");
    run(make.arg(&image_path).arg(&tar_path), &[])?;
    let mut image = std::fs::read(&image_path)?;
    std::fs::remove_file(tar_path)?;
    std::fs::remove_file(image_path)?;
    let tree = verity::append(&mut image, &salt(&inputs.table.salt)?);
    Ok((image, tree))
}

fn entries(inputs: &Inputs<'_>, packages: &Packages) -> anyhow::Result<Vec<Entry>> {
    let table = inputs.table;
    let entry = |path: &str, mode, label: &str, kind| Entry {
        path: path.trim_start_matches('/').to_owned(),
        mode,
        label: table.label(label),
        kind,
    };
    let folders =
        table.folder.iter().filter(|folder| is_in(folder.only.as_deref(), inputs.flavour, inputs.profile));
    let folders = folders.map(|folder| entry(&folder.path, 0o555, &folder.label, Kind::Folder));
    let links =
        table.link.iter().map(|link| entry(&link.path, 0o777, &link.label, Kind::Link(link.to.clone())));
    let mut entries: Vec<Entry> = folders.chain(links).collect();
    for file in &table.file {
        if !is_in(file.only.as_deref(), inputs.flavour, inputs.profile) {
            continue;
        }
        let bytes = match &file.source {
            Source::Program(name) if name == INIT => read(inputs.init)?,
            Source::Program(name) => read(&inputs.programs.join(name))?,
            Source::Package(package) => packages.file(&package.name, &package.file)?,
            Source::Repository(path) => read(&inputs.repository.join(path))?,
            Source::Text(text) => text.clone().into_bytes(),
            Source::Flavour => flavour_file(inputs.flavour),
            Source::Policy => match inputs.policy {
                Some(policy) => read(policy)?,
                None => continue,
            },
        };
        entries.push(entry(&file.path, file.permissions()?, &file.label, Kind::File(bytes)));
    }
    Ok(entries)
}

fn flavour_file(flavour: Flavour) -> Vec<u8> {
    format!("{}\n", flavour.name()).into_bytes()
}

/// The modules of this image, by name and bytes.
fn modules(inputs: &Inputs<'_>) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    if inputs.profile != Profile::Gpu {
        return Ok(Vec::new());
    }
    let table = inputs.table.module.iter();
    let wanted = table.filter(|module| is_in(module.only.as_deref(), inputs.flavour, inputs.profile));
    let file = |name: &str| format!("{name}.ko");
    wanted
        .map(|module| {
            Ok((file(&module.name), read(&inputs.kernels.join("modules").join(file(&module.name)))?))
        })
        .collect()
}

/// The initrd: the first process, and what it finds there.
fn initrd(inputs: &Inputs<'_>) -> anyhow::Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "root", "usr", "usr/lib", "usr/lib/anchorhold"] {
        archive.folder(folder, 0o755)?;
    }
    // What the kernel opens for the first process before that has mounted anything.
    archive.node("dev/console", 0o600, (5, 1))?;
    archive.file("init", 0o555, &read(inputs.init)?)?;
    archive.file(FLAVOUR, 0o444, &flavour_file(inputs.flavour))?;
    let modules = modules(inputs)?;
    if !modules.is_empty() {
        archive.folder(MODULES, 0o755)?;
    }
    for (name, bytes) in modules {
        archive.file(&format!("{MODULES}/{name}"), 0o444, &bytes)?;
    }
    // One thread always: with several the bytes depend on how many.
    run(Command::new(inputs.tools.join("run/zstd")).args(["-19", "-T1", "-c", "-q"]), &archive.finish()?)
}

fn cmdline(inputs: &Inputs<'_>, tree: &Tree) -> String {
    let words = inputs
        .table
        .cmdline
        .iter()
        .filter(|word| is_in(word.only.as_deref(), inputs.flavour, inputs.profile));
    let mut line: Vec<String> = words.map(|word| word.word.clone()).collect();
    line.push(format!("anchorhold.root={}:{}:{}", tree.blocks, inputs.table.salt, hex(&tree.root_hash)));
    line.join(" ")
}

fn salt(text: &str) -> anyhow::Result<verity::Salt> {
    let mut salt = [0; 32];
    ensure!(text.len() == 2 * salt.len() && text.is_ascii(), "salt is not 64 hex digits");
    for (byte, digits) in salt.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits)?, 16).context("salt")?;
    }
    Ok(salt)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// Runs a tool with `input` and gives back what it wrote.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> anyhow::Result<Vec<u8>> {
    use std::io::Write as _;
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| name.clone())?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let output = std::thread::scope(|scope| {
        // A tool that ends before it has read everything says why itself.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output()
    })?;
    if !output.status.success() {
        bail!("{name} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_is_64_hex_digits() {
        assert_eq!(salt(&"0a".repeat(32)).unwrap(), [10; 32]);
        for bad in ["", "0a", &"0x".repeat(32), &"ä".repeat(32)] {
            assert!(salt(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tool_is_given_its_input_and_its_failure_is_told() {
        assert_eq!(run(&mut Command::new("cat"), b"bytes").unwrap(), b"bytes");
        let long = vec![7; 1 << 20];
        assert_eq!(run(&mut Command::new("cat"), &long).unwrap(), long);
        let error = run(Command::new("sh").args(["-c", "echo no >&2; exit 3"]), &[]).unwrap_err().to_string();
        assert!(error.contains("no") && error.contains('3'), "{error}");
    }
}
