//! The attestation report as bytes, versions 2 to 5 (AMD 56860, "ATTESTATION_REPORT structure").

use super::codes;
use super::{
    ChipId, Cpuid, FirmwareVersion, GuestPolicy, MitigationVectors, PlatformInfo, RawTcb, Signer, SigningKey,
};
use crate::Refusal;
use anchorhold_rats::Code;
use anchorhold_rats::{Checks, Measurement, ReportData};

/// The length of a report in bytes.
pub const REPORT_LEN: usize = 1184;
/// How many bytes from the start the signature covers.
pub const SIGNED_LEN: usize = 0x2a0;
/// ECDSA P-384 with SHA-384.
const ECDSA_P384_SHA384: u32 = 1;

/// A report, read and well-formed, but not authenticated: holding one proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// VERSION, 2 to 5.
    pub version: u32,
    /// GUEST_SVN.
    pub guest_svn: u32,
    /// POLICY.
    pub policy: GuestPolicy,
    /// FAMILY_ID.
    pub family_id: [u8; 16],
    /// IMAGE_ID.
    pub image_id: [u8; 16],
    /// VMPL, 0 to 3.
    pub vmpl: u32,
    /// CURRENT_TCB.
    pub current_tcb: RawTcb,
    /// PLATFORM_INFO.
    pub platform_info: PlatformInfo,
    /// AUTHOR_KEY_EN.
    pub author_key_enabled: bool,
    /// MASK_CHIP_KEY.
    pub chip_key_masked: bool,
    /// SIGNING_KEY.
    pub signing_key: SigningKey,
    /// REPORT_DATA.
    pub report_data: ReportData,
    /// MEASUREMENT.
    pub measurement: Measurement,
    /// HOST_DATA.
    pub host_data: [u8; 32],
    /// ID_KEY_DIGEST.
    pub id_key_digest: [u8; 48],
    /// AUTHOR_KEY_DIGEST.
    pub author_key_digest: [u8; 48],
    /// REPORT_ID.
    pub report_id: [u8; 32],
    /// REPORT_ID_MA.
    pub report_id_ma: [u8; 32],
    /// REPORTED_TCB.
    pub reported_tcb: RawTcb,
    /// CPUID values; from version 3 on.
    pub cpuid: Option<Cpuid>,
    /// CHIP_ID.
    pub chip_id: ChipId,
    /// COMMITTED_TCB.
    pub committed_tcb: RawTcb,
    /// CURRENT_MAJOR, CURRENT_MINOR, CURRENT_BUILD.
    pub current_version: FirmwareVersion,
    /// COMMITTED_MAJOR, COMMITTED_MINOR, COMMITTED_BUILD.
    pub committed_version: FirmwareVersion,
    /// LAUNCH_TCB.
    pub launch_tcb: RawTcb,
    /// LAUNCH_MIT_VECTOR and CURRENT_MIT_VECTOR; from version 5 on.
    pub mitigations: Option<MitigationVectors>,
    /// R and S, 48 bytes each, big-endian.
    pub signature: [u8; 96],
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// [`Refusal`] with the first broken rule of the stage `parse`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut checks = Checks::new();
        Self::read(bytes, &mut checks).ok_or_else(|| Refusal::new(checks))
    }

    /// Reads a report and records every rule about its shape; `None` when one failed.
    pub(crate) fn read(bytes: &[u8], checks: &mut Checks) -> Option<Self> {
        let wanted = format!("{REPORT_LEN} bytes");
        if !checks.record(
            codes::REPORT_LENGTH,
            bytes.len() == REPORT_LEN,
            wanted,
            format!("{} bytes", bytes.len()),
        ) {
            return None;
        }
        let mut cursor = Cursor { rest: bytes, unused: Vec::new() };
        let version = cursor.u32()?;
        let known = matches!(version, 2..=5);
        if !checks.record(codes::REPORT_VERSION, known, "2, 3, 4 or 5", version.to_string()) {
            return None;
        }
        let (report, shape) = Self::fields(version, &mut cursor)?;
        let none_failed = record_shape(&report, &shape, &cursor.unused, checks);
        none_failed.then_some(report)
    }

    /// All fields in the order of the specification. `None` cannot happen with [`REPORT_LEN`] bytes.
    fn fields(version: u32, cursor: &mut Cursor<'_>) -> Option<(Self, Shape)> {
        let guest_svn = cursor.u32()?;
        let policy = GuestPolicy(cursor.u64()?);
        let (family_id, image_id) = (cursor.take()?, cursor.take()?);
        let vmpl = cursor.u32()?;
        let signature_algorithm = cursor.u32()?;
        let current_tcb = RawTcb(cursor.take()?);
        let platform_info = PlatformInfo(cursor.u64()?);
        let flags = cursor.u32()?;
        cursor.zero::<4>(0x4c)?;
        let report_data = ReportData::new(cursor.take()?);
        let measurement = Measurement::new(cursor.take()?);
        let host_data = cursor.take()?;
        let (id_key_digest, author_key_digest) = (cursor.take()?, cursor.take()?);
        let (report_id, report_id_ma) = (cursor.take()?, cursor.take()?);
        let reported_tcb = RawTcb(cursor.take()?);
        let cpuid = if version >= 3 {
            let [family, model, stepping] = cursor.take()?;
            Some(Cpuid { family, model, stepping })
        } else {
            cursor.zero::<3>(0x188)?;
            None
        };
        cursor.zero::<21>(0x18b)?;
        let chip_id = ChipId(cursor.take()?);
        let committed_tcb = RawTcb(cursor.take()?);
        let current_version = cursor.firmware_version(0x1eb)?;
        let committed_version = cursor.firmware_version(0x1ef)?;
        let launch_tcb = RawTcb(cursor.take()?);
        let mitigations = if version >= 5 {
            Some(MitigationVectors { launch: cursor.u64()?, current: cursor.u64()? })
        } else {
            cursor.zero::<16>(0x1f8)?;
            None
        };
        cursor.zero::<152>(0x208)?;
        let (signature, signature_padding) = cursor.signature()?;
        let shape = Shape { signature_algorithm, flags, signature_padding };
        let report = Self {
            version,
            guest_svn,
            policy,
            family_id,
            image_id,
            vmpl,
            current_tcb,
            platform_info,
            author_key_enabled: flags & 1 == 1,
            chip_key_masked: flags >> 1 & 1 == 1,
            signing_key: signing_key(flags).unwrap_or(SigningKey::None),
            report_data,
            measurement,
            host_data,
            id_key_digest,
            author_key_digest,
            report_id,
            report_id_ma,
            reported_tcb,
            cpuid,
            chip_id,
            committed_tcb,
            current_version,
            committed_version,
            launch_tcb,
            mitigations,
            signature,
        };
        Some((report, shape))
    }
}

const fn signing_key(flags: u32) -> Option<SigningKey> {
    match flags >> 2 & 7 {
        0 => Some(SigningKey::Signed(Signer::Vcek)),
        1 => Some(SigningKey::Signed(Signer::Vlek)),
        7 => Some(SigningKey::None),
        _ => None,
    }
}

/// What is judged while reading and not kept.
struct Shape {
    signature_algorithm: u32,
    flags: u32,
    signature_padding: bool,
}

fn record_shape(report: &Report, shape: &Shape, unused: &[(usize, usize)], checks: &mut Checks) -> bool {
    let flags = (shape.flags >> 5 != 0).then_some(FLAGS);
    let reserved: Vec<_> = flags.iter().chain(unused).collect();
    let place = |code: Code| reserved.first().map_or(code, |(offset, len)| code.at("report", *offset, *len));
    let algorithm = shape.signature_algorithm;
    let rules: [(Code, bool, &str, String); 6] = [
        (codes::SIGNATURE_ALGORITHM, algorithm == ECDSA_P384_SHA384, "1", algorithm.to_string()),
        (place(codes::REPORT_RESERVED), reserved.is_empty(), "zero", list_offsets(&reserved)),
        (
            codes::SIGNATURE_PADDING,
            !shape.signature_padding,
            "zero",
            (if shape.signature_padding { "not zero" } else { "zero" }).into(),
        ),
        (
            codes::GUEST_POLICY_RESERVED,
            report.policy.is_well_formed(),
            "bit 17 set, bits 26 to 63 clear",
            format!("{:#x}", report.policy.0),
        ),
        (codes::VMPL_RANGE, report.vmpl <= 3, "0 to 3", report.vmpl.to_string()),
        (
            codes::SIGNING_KEY_RESERVED,
            signing_key(shape.flags).is_some(),
            "0, 1 or 7",
            (shape.flags >> 2 & 7).to_string(),
        ),
    ];
    let mut none_failed = true;
    for (code, passed, wanted, observed) in rules {
        none_failed &= checks.record(code, passed, wanted, observed);
    }
    none_failed
}

/// Offset and length of the word with AUTHOR_KEY_EN, MASK_CHIP_KEY and SIGNING_KEY.
const FLAGS: (usize, usize) = (0x48, 4);

fn list_offsets(reserved: &[&(usize, usize)]) -> String {
    let offsets: Vec<_> = reserved.iter().map(|(offset, _)| format!("{offset:#05x}")).collect();
    if offsets.is_empty() { "zero".into() } else { format!("not zero at {}", offsets.join(", ")) }
}

struct Cursor<'a> {
    rest: &'a [u8],
    /// Offsets and lengths of reserved fields that are not zero.
    unused: Vec<(usize, usize)>,
}

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn zero<const N: usize>(&mut self, offset: usize) -> Option<()> {
        if self.take::<N>()? != [0; N] {
            self.unused.push((offset, N));
        }
        Some(())
    }

    /// A version and the reserved byte after it, which is at `reserved_at`.
    fn firmware_version(&mut self, reserved_at: usize) -> Option<FirmwareVersion> {
        let [build, minor, major] = self.take()?;
        self.zero::<1>(reserved_at)?;
        Some(FirmwareVersion { major, minor, build })
    }

    /// R and S as 96 big-endian bytes, and whether any byte outside them is not zero.
    fn signature(&mut self) -> Option<([u8; 96], bool)> {
        let mut r: [u8; 48] = self.take()?;
        let r_padding: [u8; 24] = self.take()?;
        let mut s: [u8; 48] = self.take()?;
        let s_padding: [u8; 24] = self.take()?;
        let tail: [u8; 368] = self.take()?;
        r.reverse();
        s.reverse();
        let mut both = [0; 96];
        let (high, low) = both.split_at_mut(48);
        high.copy_from_slice(&r);
        low.copy_from_slice(&s);
        Some((both, r_padding != [0; 24] || s_padding != [0; 24] || tail != [0; 368]))
    }
}
