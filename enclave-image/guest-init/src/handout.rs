//! The audit log of a demonstration, told on the stages' port when the keeper has ended: it lies in memory, which ends with the guest.
//!
//! Entries hold nothing that a host may not know, and whoever reads them verifies them by their proofs. Other images do not do this: there
//! the log is exported while the guest runs.

use crate::console::Stages;
use anyhow::{Context as _, ensure};
use std::fmt::Write as _;
use std::path::Path;

/// The most bytes of all files together.
const MAX_BYTES: u64 = 8 << 20;
/// Bytes of one line.
const PIECE: usize = 1024;
/// Folders below the log's own: one for each boot, and what that holds.
const MAX_DEPTH: usize = 3;

/// Tells every file below `folder`.
///
/// # Errors
/// A file cannot be read, or there is more than a demonstration has.
pub(crate) fn tell(folder: &Path, stages: &mut Stages) -> anyhow::Result<()> {
    let mut left = MAX_BYTES;
    below(folder, folder, MAX_DEPTH, &mut |name, bytes| {
        left = left.checked_sub(bytes.len() as u64).context("the log is longer than a demonstration's")?;
        stages.tell_file(name, "");
        bytes.chunks(PIECE).for_each(|piece| stages.tell_file(name, &hex(piece)));
        Ok(())
    })
}

fn below(
    top: &Path,
    folder: &Path,
    depth: usize,
    hear: &mut impl FnMut(&str, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    ensure!(depth > 0, "{} lies too deep", folder.display());
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            below(top, &path, depth - 1, hear)?;
            continue;
        }
        let name = path.strip_prefix(top)?.to_str().context("a name is not text")?;
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
        ensure!(is_plain, "a file of the log has a name that is none of ours");
        hear(name, &std::fs::read(&path).with_context(|| path.display().to_string())?)?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_file_is_told_with_its_name_below_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("demo-1/empty")).unwrap();
        std::fs::write(folder.path().join("demo-1/entries.0"), b"abc").unwrap();
        std::fs::write(folder.path().join("top"), b"").unwrap();
        let mut told = BTreeMap::new();
        below(folder.path(), folder.path(), MAX_DEPTH, &mut |name, bytes| {
            told.insert(name.to_owned(), bytes.to_vec());
            Ok(())
        })
        .unwrap();
        let wanted = BTreeMap::from([
            ("demo-1/entries.0".to_owned(), b"abc".to_vec()),
            ("top".to_owned(), Vec::new()),
        ]);
        assert_eq!(told, wanted);
        assert_eq!(hex(&[0, 0xa5]), "00a5");
    }

    #[test]
    fn refuses_strange_names_and_depths() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a\"b"), b"").unwrap();
        assert!(below(folder.path(), folder.path(), MAX_DEPTH, &mut |_, _| Ok(())).is_err());
        let deep = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(deep.path().join("1/2/3/4")).unwrap();
        assert!(below(deep.path(), deep.path(), MAX_DEPTH, &mut |_, _| Ok(())).is_err());
    }
}
