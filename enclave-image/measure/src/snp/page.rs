//! The digest and the pages that extend it (SNP firmware ABI, section 8.17.2, `PAGE_INFO`).

use crate::digest::sha384;
use anchorhold_rats::Measurement;

/// A page.
pub(super) const BYTES: usize = 4096;
/// The address under which registers are measured: all ones, cut to the 52 bits that the reverse map holds and to a page.
const VMSA_ADDRESS: u64 = 0xffff_ffff_f000;
/// The length of `PAGE_INFO`, which it states itself.
const PAGE_INFO_BYTES: u16 = 0x70;
const NO_CONTENT: [u8; 48] = [0; 48];

/// `PAGE_TYPE` of SNP_LAUNCH_UPDATE.
#[derive(Clone, Copy)]
enum PageType {
    Normal = 1,
    Vmsa = 2,
    Zero = 3,
    Secrets = 5,
    Cpuid = 6,
}

/// The digest of the pages so far.
pub(super) struct LaunchDigest([u8; 48]);

impl LaunchDigest {
    pub(super) const fn new() -> Self {
        Self([0; 48])
    }

    /// Whole pages with their content; `content` is a multiple of a page, which its callers establish.
    pub(super) fn normal_pages(&mut self, address: u64, content: &[u8]) {
        for (page, at) in content.chunks_exact(BYTES).zip((address..).step_by(BYTES)) {
            self.extend(PageType::Normal, at, &sha384(&[page]));
        }
    }

    pub(super) fn zero_pages(&mut self, address: u64, bytes: usize) {
        for at in (address..).step_by(BYTES).take(bytes / BYTES) {
            self.extend(PageType::Zero, at, &NO_CONTENT);
        }
    }

    pub(super) fn secrets_page(&mut self, address: u64) {
        self.extend(PageType::Secrets, address, &NO_CONTENT);
    }

    pub(super) fn cpuid_page(&mut self, address: u64) {
        self.extend(PageType::Cpuid, address, &NO_CONTENT);
    }

    pub(super) fn vmsa_page(&mut self, registers: &[u8; BYTES]) {
        self.extend(PageType::Vmsa, VMSA_ADDRESS, &sha384(&[registers]));
    }

    /// The three permissions of lower privilege levels and the flag for incoming migration images are zero in every launch.
    fn extend(&mut self, page_type: PageType, address: u64, content: &[u8; 48]) {
        self.0 = sha384(&[
            &self.0,
            content,
            &PAGE_INFO_BYTES.to_le_bytes(),
            &[page_type as u8, 0, 0, 0, 0, 0],
            &address.to_le_bytes(),
        ]);
    }

    pub(super) const fn finish(self) -> Measurement {
        Measurement::new(self.0)
    }
}
