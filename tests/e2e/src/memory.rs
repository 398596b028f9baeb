//! What lies in the memory, the environment and the files of a deployment. Needs the rights of root.

use anyhow::Context as _;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const CHUNK_BYTES: usize = 1024 * 1024;
/// What the kernel maps into every process and does not let be read.
const UNREADABLE: [&str; 2] = ["[vvar]", "[vvar_vclock]"];

/// Whether `needle` lies in `hay`.
#[must_use]
pub fn contains(hay: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else { return true };
    let mut hay = hay;
    while let Some(at) = hay.iter().position(|byte| byte == first) {
        hay = hay.get(at + 1..).unwrap_or_default();
        if hay.starts_with(rest) {
            return true;
        }
    }
    false
}

/// Which of `needles` lie in the writable memory of a process: heap, stacks and anonymous mappings.
///
/// # Errors
/// The process is gone, or its memory may not be read.
pub fn find(pid: u32, needles: &[&[u8]]) -> anyhow::Result<Vec<bool>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).context("memory map")?;
    let memory = File::open(format!("/proc/{pid}/mem")).context("memory")?;
    let longest = needles.iter().map(|needle| needle.len()).max().unwrap_or(0);
    let mut found = vec![false; needles.len()];
    let mut read_any = false;
    for (begin, end) in maps.lines().filter_map(writable) {
        let mut chunk = vec![0; CHUNK_BYTES + longest];
        let mut at = begin;
        while at < end {
            // Chunks overlap, so that nothing hides on a border.
            let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(chunk.len());
            let Some(part) = chunk.get_mut(..want) else { break };
            // A mapping may go away while it is read.
            if memory.read_exact_at(part, at).is_err() {
                break;
            }
            read_any = true;
            for (found, needle) in found.iter_mut().zip(needles) {
                *found = *found || contains(part, needle);
            }
            at += CHUNK_BYTES as u64;
        }
    }
    anyhow::ensure!(read_any, "nothing of the memory of process {pid} could be read");
    Ok(found)
}

/// Begin and end of a mapping that is writable and belongs to no file.
fn writable(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (range, rights, inode) = (words.next()?, words.next()?, words.nth(2)?);
    let name = words.next().unwrap_or_default();
    let (begin, end) = range.split_once('-')?;
    let wanted = rights.starts_with("rw") && inode == "0" && !UNREADABLE.contains(&name);
    let number = |text| u64::from_str_radix(text, 16).ok();
    if wanted { Some((number(begin)?, number(end)?)) } else { None }
}

/// Which of `needles` lie in the command line or the environment of a process.
///
/// # Errors
/// The process is gone.
pub fn find_in_start(pid: u32, needles: &[&[u8]]) -> anyhow::Result<Vec<bool>> {
    let mut bytes = std::fs::read(format!("/proc/{pid}/cmdline")).context("command line")?;
    bytes.extend(std::fs::read(format!("/proc/{pid}/environ")).context("environment")?);
    Ok(needles.iter().map(|needle| contains(&bytes, needle)).collect())
}

/// Every file below `directory` in which `needle` lies.
///
/// # Errors
/// A directory or file cannot be read.
pub fn files_with(directory: &Path, needle: &[u8]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => waiting.push(entry.path()),
                kind if kind.is_file() && contains(&std::fs::read(entry.path())?, needle) => {
                    found.push(entry.path());
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_needle_wherever_it_lies() {
        for (hay, wanted) in [("xxneedle", true), ("needle", true), ("neneedlexx", true), ("needl", false)] {
            assert_eq!(contains(hay.as_bytes(), b"needle"), wanted, "{hay}");
        }
        let mapping = "7f00-7f10 rw-p 00000000 00:00 0                          [heap]";
        assert_eq!(writable(mapping), Some((0x7f00, 0x7f10)));
        assert_eq!(writable(&mapping.replace("rw-p", "r--p")), None);
        assert_eq!(writable(&mapping.replace("00:00 0 ", "fe:00 17 ")), None);
    }
}
