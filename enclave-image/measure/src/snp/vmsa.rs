//! The page of registers with which a processor starts (AMD64 APM volume 2, table B-4), as KVM saves it after the
//! hypervisor has set what it sets.

use super::{Hypervisor, Launch, page};

/// Where the first processor starts.
pub(super) const RESET_VECTOR: u32 = 0xffff_fff0;

/// A segment register: selector, attributes, limit, base.
struct Segment {
    selector: u16,
    attributes: u16,
    limit: u32,
    base: u64,
}

impl Segment {
    fn bytes(&self) -> [u8; 16] {
        let mut out = [0; 16];
        let fields = self.selector.to_le_bytes().into_iter().chain(self.attributes.to_le_bytes());
        let fields = fields.chain(self.limit.to_le_bytes()).chain(self.base.to_le_bytes());
        out.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        out
    }
}

/// What hypervisors set differently.
struct Start {
    code: u16,
    stack: u16,
    task: u16,
    rdx: u64,
    mxcsr: u32,
    x87_control: u16,
}

impl Start {
    fn of(launch: &Launch<'_>, address: u32) -> Self {
        match launch.hypervisor {
            Hypervisor::Qemu => Self {
                code: 0x9b,
                stack: 0x93,
                task: 0x8b,
                rdx: launch.vcpu_type.signature().into(),
                mxcsr: 0x1f80,
                x87_control: 0x37f,
            },
            Hypervisor::Ec2 => Self {
                code: if address == RESET_VECTOR { 0x9a } else { 0x9b },
                stack: 0x92,
                task: 0x83,
                rdx: 0x600,
                mxcsr: 0,
                x87_control: 0,
            },
        }
    }
}

/// The page of a processor that starts at `address`.
pub(super) fn page(address: u32, launch: &Launch<'_>) -> [u8; page::BYTES] {
    let start = Start::of(launch, address);
    let real = |attributes| Segment { selector: 0, attributes, limit: 0xffff, base: 0 };
    let code = Segment { selector: 0xf000, base: (address & 0xffff_0000).into(), ..real(start.code) };
    let mut page = [0; page::BYTES];
    for (offset, segment) in [
        (0x000, real(0x93)),        // ES
        (0x010, code),              // CS
        (0x020, real(start.stack)), // SS
        (0x030, real(0x93)),        // DS
        (0x040, real(0x93)),        // FS
        (0x050, real(0x93)),        // GS
        (0x060, real(0)),           // GDTR
        (0x070, real(0x82)),        // LDTR
        (0x080, real(0)),           // IDTR
        (0x090, real(start.task)),  // TR
    ] {
        put(&mut page, offset, &segment.bytes());
    }
    for (offset, value) in [
        (0x0d0, 0x1000),                    // EFER: KVM sets SVME
        (0x148, 0x40),                      // CR4: KVM sets MCE
        (0x158, 0x10),                      // CR0
        (0x160, 0x400),                     // DR7
        (0x168, 0xffff_0ff0),               // DR6
        (0x170, 0x2),                       // RFLAGS
        (0x178, (address & 0xffff).into()), // RIP
        (0x268, 0x0007_0406_0007_0406),     // G_PAT
        (0x310, start.rdx),                 // RDX
        (0x3b0, launch.features),           // SEV_FEATURES
        (0x3e8, 0x1),                       // XCR0
    ] {
        put(&mut page, offset, &u64::to_le_bytes(value));
    }
    put(&mut page, 0x408, &start.mxcsr.to_le_bytes());
    put(&mut page, 0x410, &start.x87_control.to_le_bytes());
    page
}

/// Writes at a constant offset, which lies in the page.
fn put(page: &mut [u8; page::BYTES], offset: usize, bytes: &[u8]) {
    page.iter_mut().skip(offset).zip(bytes).for_each(|(to, from)| *to = *from);
}
