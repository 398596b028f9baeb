//! One way to make logs, and the folder of real samples.

use anchorhold_verifier::Refusal;
use anchorhold_verifier::event_log::{EventKind, GLOBAL_VARIABLE, Replayed, read};
use std::fmt::Debug;
use std::path::PathBuf;

pub(crate) const SHA256: u16 = 0x000b;
pub(crate) const SHA384: u16 = 0x000c;

pub(crate) fn sha384(bytes: &[u8]) -> [u8; 48] {
    ring::digest::digest(&ring::digest::SHA384, bytes).as_ref().try_into().unwrap()
}

/// One register after another extend.
pub(crate) fn extend(register: [u8; 48], digest: &[u8; 48]) -> [u8; 48] {
    sha384(&[register, *digest].concat())
}

pub(crate) fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap().to_le_bytes()
}

/// The data of a header: signature, platform class, version 2.0, errata, 8-byte pointers, algorithms, no vendor.
pub(crate) fn spec_id(algorithms: &[(u16, u16)]) -> Vec<u8> {
    let mut out = b"Spec ID Event03\0\0\0\0\0\0\x02\x69\x02".to_vec();
    out.extend(u32::try_from(algorithms.len()).unwrap().to_le_bytes());
    for (algorithm, bytes) in algorithms {
        out.extend([algorithm.to_le_bytes(), bytes.to_le_bytes()].concat());
    }
    out.push(0);
    out
}

/// The first record, with this data.
pub(crate) fn header_record(data: &[u8]) -> Vec<u8> {
    [&1_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), &[0; 20], &length(data), data].concat()
}

pub(crate) fn header() -> Vec<u8> {
    header_record(&spec_id(&[(SHA384, 48)]))
}

/// A record with these digests.
pub(crate) fn record(register: u32, kind: EventKind, digests: &[(u16, &[u8])], data: &[u8]) -> Vec<u8> {
    let mut out =
        [register, kind.code(), u32::try_from(digests.len()).unwrap()].map(u32::to_le_bytes).concat();
    for (algorithm, digest) in digests {
        out.extend(algorithm.to_le_bytes());
        out.extend(*digest);
    }
    out.extend(length(data));
    out.extend(data);
    out
}

/// A record whose digest is of all its data.
pub(crate) fn event(register: u32, kind: EventKind, data: &[u8]) -> Vec<u8> {
    record(register, kind, &[(SHA384, &sha384(data))], data)
}

/// A header and these records.
pub(crate) fn log(records: &[Vec<u8>]) -> Vec<u8> {
    [header(), records.concat()].concat()
}

/// UEFI_VARIABLE_DATA.
pub(crate) fn variable(vendor: &[u8; 16], name: &str, value: &[u8]) -> Vec<u8> {
    let name: Vec<u16> = name.encode_utf16().collect();
    let lengths = [name.len() as u64, value.len() as u64].map(u64::to_le_bytes).concat();
    let name: Vec<u8> = name.into_iter().flat_map(u16::to_le_bytes).collect();
    [&vendor[..], &lengths, &name, value].concat()
}

pub(crate) fn secure_boot(value: &[u8]) -> Vec<u8> {
    event(1, EventKind::VariableDriverConfig, &variable(&GLOBAL_VARIABLE, "SecureBoot", value))
}

pub(crate) fn separator(register: u32) -> Vec<u8> {
    event(register, EventKind::Separator, &[0; 4])
}

/// A small log with an event in each register.
pub(crate) fn boot() -> Vec<Vec<u8>> {
    vec![
        secure_boot(&[1]),
        separator(1),
        event(2, EventKind::EfiAction, b"Calling EFI Application from Boot Option"),
        record(2, EventKind::BootServicesApplication, &[(SHA384, &[7; 48])], b"a device path"),
        event(3, EventKind::Ipl, b"quiet"),
        event(4, EventKind::EventTag, b"of the running system"),
    ]
}

pub(crate) fn replayed(log: &[u8]) -> Replayed {
    read(log).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// The code and place of the refusal of this log.
pub(crate) fn refusal(log: &[u8]) -> (String, Option<(usize, usize)>) {
    place(read(log))
}

/// The first failed rule, and the place it judged.
pub(crate) fn place<T: Debug>(result: Result<T, Refusal>) -> (String, Option<(usize, usize)>) {
    let refusal = result.expect_err("accepted");
    let check = refusal.checks().failed().next().unwrap().clone();
    (check.code.to_string(), check.source.map(|source| (source.offset, source.length)))
}

pub(crate) fn code(log: &[u8]) -> String {
    refusal(log).0
}

/// A file among the real samples, or `None` where a developer does not have them. CI must have them.
pub(crate) fn sample(name: &str) -> Option<Vec<u8>> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evidence"));
    if folder.is_dir() {
        return Some(std::fs::read(folder.join(name)).unwrap());
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", folder.display());
    eprintln!("skipped: no real samples at {}", folder.display());
    None
}
