//! The tar that `mkfs.erofs --tar` makes the root of: POSIX headers, and for each entry a PAX header with its SELinux label, so that
//! labelling needs neither root nor libselinux. Owner, group and time are fixed.

use anyhow::{Context as _, ensure};

const BLOCK: usize = 512;
/// Longer paths would need another PAX record; the root has none.
const MAX_PATH_LEN: usize = 99;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A plain file with these bytes.
    File(Vec<u8>),
    /// A symbolic link to this path.
    Link(String),
}

/// An entry of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Without the first slash.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// The SELinux context.
    pub label: String,
    /// What it is.
    pub kind: Kind,
}

/// The archive of these entries, in the order of their paths, all of this time (seconds since 1970).
///
/// # Errors
/// Two entries have one path, or a path or link is too long.
pub fn write(entries: &[Entry], time: u64) -> anyhow::Result<Vec<u8>> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let mut archive = Vec::new();
    let mut last = None;
    for entry in sorted {
        ensure!(last != Some(&entry.path), "/{} stands twice", entry.path);
        last = Some(&entry.path);
        let record = record("SCHILY.xattr.security.selinux", entry.label.as_bytes());
        put(&mut archive, &Header { path: "label", kind: b'x', mode: 0o444, time, link: "" }, &record)?;
        let (kind, link, bytes): (_, _, &[u8]) = match &entry.kind {
            Kind::Folder => (b'5', "", &[]),
            Kind::File(bytes) => (b'0', "", bytes),
            Kind::Link(target) => (b'2', target.as_str(), &[]),
        };
        let path = if entry.path.is_empty() { "./" } else { entry.path.as_str() };
        put(&mut archive, &Header { path, kind, mode: entry.mode, time, link }, bytes)
            .with_context(|| format!("/{}", entry.path))?;
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    Ok(archive)
}

/// A PAX record: its own length in decimal, the key, the value.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    let mut bytes = format!("{length} {key}=").into_bytes();
    bytes.extend(value);
    bytes.push(b'\n');
    bytes
}

struct Header<'a> {
    path: &'a str,
    kind: u8,
    mode: u32,
    time: u64,
    link: &'a str,
}

fn put(archive: &mut Vec<u8>, header: &Header<'_>, bytes: &[u8]) -> anyhow::Result<()> {
    ensure!(header.path.len() <= MAX_PATH_LEN, "a path longer than {MAX_PATH_LEN} bytes");
    ensure!(header.link.len() <= MAX_PATH_LEN, "a link longer than {MAX_PATH_LEN} bytes");
    let mut block = [0_u8; BLOCK];
    let mut field = |at: usize, text: &[u8]| {
        if let Some(room) = block.get_mut(at..at + text.len()) {
            room.copy_from_slice(text);
        }
    };
    field(0, header.path.as_bytes());
    field(100, format!("{:07o}", header.mode).as_bytes());
    field(108, b"0000000");
    field(116, b"0000000");
    field(124, format!("{:011o}", bytes.len()).as_bytes());
    field(136, format!("{:011o}", header.time).as_bytes());
    field(148, b"        ");
    field(156, &[header.kind]);
    field(157, header.link.as_bytes());
    field(257, b"ustar\x0000");
    field(329, b"0000000");
    field(337, b"0000000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    if let Some(room) = block.get_mut(148..156) {
        room.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    archive.extend(block);
    archive.extend(bytes);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: path.into(), mode: 0o555, label: "u:object_r:root_t:s0".into(), kind }
    }

    #[test]
    fn another_tar_reads_it_and_order_does_not_matter() {
        let entries = [
            entry("", Kind::Folder),
            entry("b", Kind::File(b"bytes".to_vec())),
            entry("a", Kind::Link("b".into())),
        ];
        let mut turned = entries.to_vec();
        turned.reverse();
        let archive = write(&entries, 1).unwrap();
        assert_eq!(archive, write(&turned, 1).unwrap());
        let mut tar = Command::new("tar")
            .args(["-tv", "--numeric-owner"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&archive).unwrap();
        let output = tar.wait_with_output().unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        assert_eq!(listed.lines().count(), 3, "{listed}");
        assert!(listed.contains("a -> b") && listed.contains("-r-xr-xr-x 0/0"), "{listed}");
    }

    #[test]
    fn refuses_paths_that_stand_twice_or_are_too_long() {
        assert!(write(&[entry("a", Kind::Folder), entry("a", Kind::Folder)], 0).is_err());
        assert!(write(&[entry(&"a".repeat(100), Kind::Folder)], 0).is_err());
        assert!(write(&[entry("a", Kind::Link("b".repeat(100)))], 0).is_err());
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for value in [5, 80, 85, 86, 87, 970] {
            let record = record("key", &vec![b'x'; value]);
            let told: usize =
                std::str::from_utf8(record.split(|&b| b == b' ').next().unwrap()).unwrap().parse().unwrap();
            assert_eq!(told, record.len());
        }
    }
}
