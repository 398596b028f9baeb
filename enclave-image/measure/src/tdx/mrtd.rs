//! MRTD: SHA-384 over a record for each page that is added and each 256 bytes that are measured (TDX Module Base
//! Architecture, "TDH.MEM.PAGE.ADD" and "TDH.MR.EXTEND").

use super::metadata::{self, PAGE_BYTES, Section};
use crate::Error;
use crate::firmware::Firmware;
use anchorhold_rats::Measurement;
use ring::digest::{Context, SHA384};

/// How many bytes one TDH.MR.EXTEND measures.
const CHUNK_BYTES: usize = 256;
/// The length of a record: a name at its start, the address at 16, zeroes else.
const RECORD_BYTES: usize = 128;
const PAGE_ADD: &[u8] = b"MEM.PAGE.ADD";
const EXTEND: &[u8] = b"MR.EXTEND";
const ZEROES: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// In which order the hypervisor adds and measures the pages of one section; MRTD shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageOrder {
    /// Each page is added, then measured: Linux 6.16 and QEMU 10.1, and newer.
    PageByPage,
    /// All pages of the section are added, then all are measured: Intel's patches of QEMU 7 and 8.
    SectionBySection,
}

/// MRTD of a guest that starts with this firmware file.
///
/// Establishes what the TDX module measures when a hypervisor follows the firmware's metadata. It depends on nothing else:
/// neither on processors nor on memory, kernel or command line.
///
/// # Errors
/// [`Error`] when the file is no firmware for TDX.
pub fn mrtd(firmware: &[u8], order: PageOrder) -> Result<Measurement, Error> {
    let firmware = Firmware::parse(firmware)?;
    let mut context = Context::new(&SHA384);
    for section in metadata::sections(&firmware)?.iter().filter(|section| section.is_recorded()) {
        let mut pages = section.content.chunks(PAGE_BYTES);
        let addresses = || (section.address..).step_by(PAGE_BYTES).zip(0..section.bytes / PAGE_BYTES as u64);
        if order == PageOrder::SectionBySection {
            addresses().for_each(|(address, _)| add(&mut context, section, address));
        }
        for (address, _) in addresses() {
            if order == PageOrder::PageByPage {
                add(&mut context, section, address);
            }
            extend(&mut context, section, address, pages.next().unwrap_or_default());
        }
    }
    let mut out = [0; Measurement::LEN];
    out.copy_from_slice(context.finish().as_ref());
    Ok(Measurement::new(out))
}

fn record(name: &[u8], address: u64) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    record.iter_mut().skip(16).zip(address.to_le_bytes()).for_each(|(to, from)| *to = from);
    record
}

fn add(context: &mut Context, section: &Section<'_>, address: u64) {
    if !section.augmented {
        context.update(&record(PAGE_ADD, address));
    }
}

/// Measures a page whose content ends with zeroes where `content` is shorter.
fn extend(context: &mut Context, section: &Section<'_>, address: u64, content: &[u8]) {
    if !section.extended {
        return;
    }
    let mut chunks = content.chunks(CHUNK_BYTES);
    for at in (address..).step_by(CHUNK_BYTES).take(PAGE_BYTES / CHUNK_BYTES) {
        context.update(&record(EXTEND, at));
        let chunk = chunks.next().unwrap_or_default();
        context.update(chunk);
        context.update(ZEROES.get(chunk.len()..).unwrap_or_default());
    }
}
