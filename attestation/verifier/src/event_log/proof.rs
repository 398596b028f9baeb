//! Which bytes of an event its digest is of.

use super::{EventKind, Variable};
use ring::digest::{Context, SHA384};

/// What GRUB puts before a string that it measures: the digest is of the string alone, in one vendor's with its NUL.
const GRUB_PREFIXES: [&[u8]; 5] =
    [b"grub_cmd: ", b"kernel_cmdline: ", b"module_cmdline: ", b"grub_cmd ", b"grub_kernel_cmdline "];
/// What may follow such a string: its NUL, and in that vendor's GRUB a stray byte of memory.
const GRUB_TAIL_BYTES: usize = 2;
/// td-shim: a name of 16 bytes and the length of the content, before the content.
const TD_SHIM_HEADER_BYTES: usize = 20;

/// SHA-384 over all parts.
pub(super) fn sha384(parts: &[&[u8]]) -> [u8; 48] {
    let mut context = Context::new(&SHA384);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; 48];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// The bytes of `data` whose SHA-384 digest is `digest`, by the rules for this kind of event; `None` when none are.
pub(super) fn measured<'a>(kind: EventKind, digest: &[u8; 48], data: &'a [u8]) -> Option<&'a [u8]> {
    candidates(kind, data).into_iter().flatten().find(|bytes| sha384(&[bytes]) == *digest)
}

/// What a digest of this kind of event may be of.
fn candidates(kind: EventKind, data: &[u8]) -> [Option<&[u8]>; 4] {
    match kind {
        EventKind::Separator
        | EventKind::Action
        | EventKind::EfiAction
        | EventKind::EventTag
        | EventKind::CrtmVersion
        | EventKind::CompactHash
        | EventKind::NonhostInfo
        | EventKind::PostCode
        | EventKind::TableOfDevices
        | EventKind::VariableDriverConfig
        | EventKind::VariableBoot2
        | EventKind::VariableAuthority
        | EventKind::DstackRuntime
        | EventKind::Gpt
        | EventKind::Gpt2 => [Some(data), None, None, None],
        // The profile says the value alone; some firmware measures name and value.
        EventKind::VariableBoot => {
            [Variable::parse(data).map(|variable| variable.data), Some(data), None, None]
        }
        EventKind::PlatformConfigFlags => [Some(data), td_shim_content(data), None, None],
        EventKind::Ipl => {
            let (string, terminated) = grub_string(data).unzip();
            [Some(data), data.strip_suffix(&[0]), string, terminated]
        }
        // Digests of programs, firmware volumes and tables that are not in the log; and what has no name here.
        EventKind::NoAction
        | EventKind::CrtmContents
        | EventKind::CpuMicrocode
        | EventKind::IplPartitionData
        | EventKind::NonhostCode
        | EventKind::NonhostConfig
        | EventKind::OmitBootDeviceEvents
        | EventKind::PostCode2
        | EventKind::BootServicesApplication
        | EventKind::BootServicesDriver
        | EventKind::RuntimeServicesDriver
        | EventKind::PlatformFirmwareBlob
        | EventKind::HandoffTables
        | EventKind::PlatformFirmwareBlob2
        | EventKind::HandoffTables2
        | EventKind::Hcrtm
        | EventKind::SpdmFirmwareBlob
        | EventKind::SpdmFirmwareConfig
        | EventKind::Unknown(_) => [None; 4],
    }
}

/// The string that GRUB measured, without its NUL and with it.
fn grub_string(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = GRUB_PREFIXES.iter().find_map(|prefix| data.strip_prefix(*prefix))?;
    let end = text.iter().position(|byte| *byte == 0)?;
    let (string, tail) = text.split_at_checked(end)?;
    if tail.len() > GRUB_TAIL_BYTES {
        return None;
    }
    Some((string, text.get(..=end)?))
}

fn td_shim_content(data: &[u8]) -> Option<&[u8]> {
    let (header, content) = data.split_at_checked(TD_SHIM_HEADER_BYTES)?;
    let length = u32::from_le_bytes(*header.last_chunk()?);
    (usize::try_from(length).ok()? == content.len()).then_some(content)
}
