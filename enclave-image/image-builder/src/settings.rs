//! A deployment's settings, as an archive after the image's own initrd. The kernel unpacks both, the platform measures both, and the
//! image itself stays what everybody can build again.

use crate::build::files;
use crate::cpio::Archive;
use crate::table::Flavour;
use anyhow::{Context as _, ensure};
use std::path::Path;

/// Where the initrd has them; the guest's first process copies them to `/etc/anchorhold`.
const FOLDER: &str = "settings";
/// What has to be there.
const NEEDED: [&str; 3] = ["guest.toml", "keeper.toml", "gateway.toml"];
/// The longest file, in bytes.
const MAX_LEN: u64 = 1 << 20;
const MAX_FILES: usize = 64;

/// Writes an initrd with the settings in `folder`, for the image in `image`.
pub fn append(image: &Path, folder: &Path, out: &Path) -> anyhow::Result<()> {
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(image.join(files::MANIFEST))?)?;
    let flavour = manifest.get("flavour").and_then(serde_json::Value::as_str).unwrap_or_default();
    let flavour: Flavour = flavour.parse().map_err(anyhow::Error::msg)?;
    let mut initrd = std::fs::read(image.join(files::INITRD))?;
    // The kernel looks for the next archive at a multiple of four.
    initrd.resize(initrd.len().next_multiple_of(4), 0);
    initrd.extend(archive(folder, flavour).with_context(|| folder.display().to_string())?);
    std::fs::write(out, initrd).with_context(|| out.display().to_string())
}

/// The files of the folder in the order of their names, so that its own order does not matter.
fn archive(folder: &Path, flavour: Flavour) -> anyhow::Result<Vec<u8>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a name that is not UTF-8")?;
        ensure!(entry.file_type()?.is_file(), "{name} is not a plain file");
        ensure!(entry.metadata()?.len() <= MAX_LEN, "{name} is longer than {MAX_LEN} bytes");
        names.push(name);
    }
    ensure!(names.len() <= MAX_FILES, "{} files, the limit is {MAX_FILES}", names.len());
    names.sort();
    for needed in NEEDED {
        ensure!(names.iter().any(|name| name == needed), "{needed} is missing");
    }
    let keeper = std::fs::read_to_string(folder.join("keeper.toml"))?;
    ensure!(
        flavour == Flavour::Demo || !simulates(&keeper)?,
        "keeper.toml: attester.kind is software, which only the demo image may have"
    );
    let mut archive = Archive::default();
    archive.folder(FOLDER, 0o700)?;
    for name in names {
        archive.file(&format!("{FOLDER}/{name}"), 0o400, &std::fs::read(folder.join(&name))?)?;
    }
    Ok(archive.finish()?)
}

fn simulates(keeper: &str) -> anyhow::Result<bool> {
    let keeper: toml::Table = keeper.parse().context("keeper.toml")?;
    let kind = keeper.get("attester").and_then(|attester| attester.get("kind"));
    Ok(kind.and_then(toml::Value::as_str) == Some("software"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("guest.toml"), "").unwrap();
        std::fs::write(folder.path().join("gateway.toml"), "").unwrap();
        std::fs::write(folder.path().join("keeper.toml"), "[attester]\nkind = \"software\"\n").unwrap();
        folder
    }

    #[test]
    fn only_the_demo_image_takes_a_simulated_attester() {
        let folder = folder();
        archive(folder.path(), Flavour::Demo).unwrap();
        for flavour in [Flavour::Production, Flavour::Debug] {
            assert!(archive(folder.path(), flavour).unwrap_err().to_string().contains("software"));
        }
    }

    #[test]
    fn refuses_what_is_missing_linked_or_too_long() {
        let missing = folder();
        std::fs::remove_file(missing.path().join("guest.toml")).unwrap();
        assert!(archive(missing.path(), Flavour::Demo).is_err());
        let linked = folder();
        std::os::unix::fs::symlink("/etc/passwd", linked.path().join("hosts")).unwrap();
        assert!(archive(linked.path(), Flavour::Demo).is_err());
        let long = folder();
        std::fs::write(long.path().join("hosts"), vec![b'#'; 1 << 20 | 1]).unwrap();
        assert!(archive(long.path(), Flavour::Demo).is_err());
        let many = folder();
        for at in 0..MAX_FILES {
            std::fs::write(many.path().join(at.to_string()), "").unwrap();
        }
        assert!(archive(many.path(), Flavour::Demo).is_err());
    }
}
