//! The unified kernel image: kernel, initrd and command line as one program for UEFI, which a TPM or a TD's firmware measures whole.

use crate::build::{files, run};
use anyhow::{Context as _, ensure};
use std::path::Path;
use std::process::Command;

/// What the image calls itself, which boot menus show and the stub measures.
const OS_RELEASE: &str = "ID=anchorhold\nPRETTY_NAME=Anchorhold\n";

/// Writes the unified kernel image of an image with this initrd.
pub fn write(image: &Path, initrd: &Path, tools: &Path, out: &Path) -> anyhow::Result<()> {
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(image.join(files::MANIFEST))?)?;
    let epoch = manifest.get("epoch").and_then(serde_json::Value::as_u64).context("the image has no date")?;
    let cmdline = std::fs::read_to_string(image.join(files::CMDLINE)).context("the command line")?;
    // Ukify reads a file where the text begins so.
    ensure!(!cmdline.starts_with('@'), "the command line is no command line");
    let option = |name: &str, path: &Path| {
        let mut word = std::ffi::OsString::from(format!("--{name}="));
        word.push(path);
        word
    };
    let mut ukify = Command::new(tools.join("run/ukify"));
    ukify.arg("build").env("SOURCE_DATE_EPOCH", epoch.to_string());
    ukify.arg(option("linux", &image.join(files::KERNEL))).arg(option("initrd", initrd));
    ukify.arg(option("stub", &image.join(files::STUB))).arg(option("output", out));
    ukify
        .arg(format!("--cmdline={cmdline}"))
        .arg(format!("--os-release={OS_RELEASE}"))
        .arg("--uname=anchorhold");
    run(&mut ukify, &[]).map(drop)
}
