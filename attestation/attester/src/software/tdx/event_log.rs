//! Measured-boot event logs (CCEL) as bytes, and the RTMR values that they replay to.
//!
//! Format: TCG PC Client Platform Firmware Profile 1.06, section 10.2, with the measurement register in the place of the
//! PCR (UEFI 2.10, section 38.4.1): 1 to 4 are RTMR0 to RTMR3, 0 is MRTD.

use ring::digest::{SHA384, digest};

/// TPM_ALG_SHA384.
pub const SHA384_DIGEST_ID: u16 = 0x000c;
const EV_NO_ACTION: u32 = 3;
const EV_SEPARATOR: u32 = 4;
const EV_EVENT_TAG: u32 = 6;
const EV_PLATFORM_CONFIG_FLAGS: u32 = 0xa;
const EV_IPL: u32 = 0xd;
const EV_EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
const EV_EFI_VARIABLE_BOOT: u32 = 0x8000_0002;
const EV_EFI_BOOT_SERVICES_APPLICATION: u32 = 0x8000_0003;
const EV_EFI_ACTION: u32 = 0x8000_0007;
/// EFI_GLOBAL_VARIABLE, 8be4df61-93ca-11d2-aa0d-00e098032b8c.
const GLOBAL_VARIABLE: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
/// EFI_IMAGE_SECURITY_DATABASE, d719b2cb-3d3a-4596-a3bc-dad00e67656f.
const SECURITY_DATABASE: [u8; 16] =
    [0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f];
/// The tag under which Linux records an initrd.
const LINUX_INITRD_TAG: u32 = 0x8f3b_22ec;
/// Real logs end in a large area of these.
const PADDING_BYTES: usize = 64;

/// One digest of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDigest {
    /// The TPM's number of the algorithm.
    pub algorithm: u16,
    /// The digest.
    pub bytes: Vec<u8>,
}

/// One TCG_PCR_EVENT2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The measurement register: 1 to 4 for RTMR0 to RTMR3.
    pub register: u32,
    /// The event type.
    pub kind: u32,
    /// Its digests; real logs have one.
    pub digests: Vec<EventDigest>,
    /// The event data.
    pub data: Vec<u8>,
}

impl Event {
    /// An event that extended the digest of `measured` and recorded `data`.
    #[must_use]
    pub fn new(register: u32, kind: u32, measured: &[u8], data: &[u8]) -> Self {
        let bytes = digest(&SHA384, measured).as_ref().to_vec();
        Self::with_digest(register, kind, bytes, data)
    }

    /// An event that extended this SHA-384 digest and recorded `data`.
    #[must_use]
    pub fn with_digest(register: u32, kind: u32, bytes: Vec<u8>, data: &[u8]) -> Self {
        let digests = vec![EventDigest { algorithm: SHA384_DIGEST_ID, bytes }];
        Self { register, kind, digests, data: data.to_vec() }
    }

    /// EV_SEPARATOR of four zero bytes.
    #[must_use]
    pub fn separator(register: u32) -> Self {
        Self::new(register, EV_SEPARATOR, &[0; 4], &[0; 4])
    }

    /// EV_EFI_ACTION with this text.
    #[must_use]
    pub fn action(register: u32, text: &str) -> Self {
        Self::new(register, EV_EFI_ACTION, text.as_bytes(), text.as_bytes())
    }

    /// EV_IPL as a boot loader records a text: the digest covers `text` alone, the data is `prefix`, `text` and a zero byte.
    #[must_use]
    pub fn loader_text(prefix: &str, text: &str) -> Self {
        Self::new(3, EV_IPL, text.as_bytes(), format!("{prefix}{text}\0").as_bytes())
    }

    /// A UEFI variable as UEFI_VARIABLE_DATA, whose whole is digested.
    #[must_use]
    pub fn variable(kind: u32, vendor: [u8; 16], name: &str, contents: &[u8]) -> Self {
        let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let name_length = (name.len() as u64 / 2).to_le_bytes();
        let contents_length = (contents.len() as u64).to_le_bytes();
        let data = [&vendor[..], &name_length, &contents_length, &name, contents].concat();
        Self::new(1, kind, &data, &data)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.register.to_le_bytes());
        out.extend(self.kind.to_le_bytes());
        out.extend(count(self.digests.len()));
        for digest in &self.digests {
            out.extend(digest.algorithm.to_le_bytes());
            out.extend(&digest.bytes);
        }
        out.extend(count(self.data.len()));
        out.extend(&self.data);
        out
    }
}

/// What the simulated firmware and boot loader measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The kernel; its digest goes to RTMR1.
    pub kernel: Vec<u8>,
    /// The kernel's command line; to RTMR2.
    pub command_line: String,
    /// The initrd; its digest goes to RTMR2.
    pub initrd: Vec<u8>,
}

impl Default for Boot {
    fn default() -> Self {
        Self {
            kernel: b"simulated kernel".to_vec(),
            command_line: "/vmlinuz console=ttyS0 anchorhold.simulated=1".to_owned(),
            initrd: b"simulated initrd".to_vec(),
        }
    }
}

/// An event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    /// The first record, in the old form with a digest of 20 bytes, which names the algorithms of the others.
    pub header: Vec<u8>,
    /// The events.
    pub events: Vec<Event>,
    /// What follows the last event.
    pub padding: Vec<u8>,
}

impl EventLog {
    /// A log with Spec ID Event03 for SHA-384, these events, and 0xff after them.
    #[must_use]
    pub fn new(events: Vec<Event>) -> Self {
        let mut identity = b"Spec ID Event03\0".to_vec();
        // Platform class 0, version 2.0 errata 0, UINTN of 64 bits, one algorithm: SHA-384 of 48 bytes, no vendor information.
        identity.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0c, 0, 48, 0, 0]);
        let mut header = Vec::new();
        header.extend(1_u32.to_le_bytes());
        header.extend(EV_NO_ACTION.to_le_bytes());
        header.extend([0; 20]);
        header.extend(count(identity.len()));
        header.extend(identity);
        Self { header, events, padding: vec![0xff; PADDING_BYTES] }
    }

    /// The log of a boot through simulated firmware and a simulated boot loader.
    #[must_use]
    pub fn boot(boot: &Boot) -> Self {
        let driver = EV_EFI_VARIABLE_DRIVER_CONFIG;
        let initrd = b"Linux initrd\0";
        let initrd_data = [&LINUX_INITRD_TAG.to_le_bytes()[..], &count(initrd.len()), initrd].concat();
        Self::new(vec![
            Event::variable(driver, GLOBAL_VARIABLE, "SecureBoot", &[0]),
            Event::variable(driver, GLOBAL_VARIABLE, "PK", &[]),
            Event::variable(driver, GLOBAL_VARIABLE, "KEK", &[]),
            Event::variable(driver, SECURITY_DATABASE, "db", &[]),
            Event::variable(driver, SECURITY_DATABASE, "dbx", &[]),
            Event::separator(1),
            Event::new(1, EV_PLATFORM_CONFIG_FLAGS, b"simulated ACPI tables", b"ACPI DATA"),
            Event::variable(EV_EFI_VARIABLE_BOOT, GLOBAL_VARIABLE, "BootOrder", &[0, 0]),
            Event::action(2, "Calling EFI Application from Boot Option"),
            Event::separator(2),
            Event::new(2, EV_EFI_BOOT_SERVICES_APPLICATION, &boot.kernel, b"simulated device path"),
            Event::loader_text("kernel_cmdline: ", &boot.command_line),
            Event::new(3, EV_EVENT_TAG, &boot.initrd, &initrd_data),
            Event::action(2, "Exit Boot Services Invocation"),
            Event::action(2, "Exit Boot Services Returned with Success"),
        ])
    }

    /// The log as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let events: Vec<u8> = self.events.iter().flat_map(Event::encode).collect();
        [&self.header[..], &events, &self.padding].concat()
    }
}

/// RTMR0 to RTMR3 after these events: each SHA-384 digest extends its register, EV_NO_ACTION none.
#[must_use]
pub fn replay(events: &[Event]) -> [[u8; 48]; 4] {
    let mut registers = [[0; 48]; 4];
    for event in events.iter().filter(|event| event.kind != EV_NO_ACTION) {
        let register = usize::try_from(event.register).ok().and_then(|number| number.checked_sub(1));
        let Some(register) = register.and_then(|index| registers.get_mut(index)) else { continue };
        let known = event.digests.iter().find(|digest| digest.algorithm == SHA384_DIGEST_ID);
        if let Some(known) = known {
            let extended = digest(&SHA384, &[&register[..], &known.bytes].concat());
            register.copy_from_slice(extended.as_ref());
        }
    }
    registers
}

/// A count or length in four bytes, little-endian; logs are far below the 4 GiB where it would be cut.
fn count(number: usize) -> [u8; 4] {
    let [a, b, c, d, ..] = number.to_le_bytes();
    [a, b, c, d]
}
