//! The certificates of a device: attestation key, BROM, provisioner, identity, root.

use super::device::DeviceChecks;
use super::verified::Verified;
use super::{Architecture, Kind, Pdi, codes, fwid};
use crate::TrustAnchors;
use crate::der::{self, Reader};
use crate::x509::{Certificate, PublicKey};
use anchorhold_rats::{Der, Sha256Digest, Timestamp};

/// How many certificates a chain has, the root included.
pub const CHAIN_LEN: usize = 5;
const WHICH: [&str; CHAIN_LEN] = ["attestation key", "BROM", "provisioner", "identity", "root"];

/// How the serial number of a GPU's or a switch's BROM begins.
const GPU_PREFIX: &str = "41";
const SWITCH_PREFIX: &str = "50";
const SERIAL_NUMBER: &[u8] = &[0x55, 0x04, 0x05];
const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x0e];
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];

/// A chain in which every rule held.
pub(super) struct Chain<'a> {
    /// From the attestation key to the root.
    pub(super) certificates: [Certificate<'a>; CHAIN_LEN],
    /// Uncompressed P-384 point of the key that signs reports.
    pub(super) key: &'a [u8],
    /// The chip as the BROM certificate names it.
    pub(super) chip: &'a str,
    pub(super) architecture: Architecture,
    pub(super) pdi: Pdi,
    /// The end of the earliest validity in the chain.
    pub(super) expires: Timestamp,
}

impl<'a> Chain<'a> {
    /// The certificates whose revocation is judged, with their names and issuers: all but attestation key and root.
    pub(super) fn intermediates(
        &self,
    ) -> impl Iterator<Item = (&'static str, &Certificate<'a>, &Certificate<'a>)> {
        let pairs = self.certificates.iter().zip(self.certificates.iter().skip(1));
        WHICH
            .into_iter()
            .zip(pairs)
            .skip(1)
            .map(|(which, (certificate, issuer))| (which, certificate, issuer))
    }
}

/// Judges the chain of `certificates` (leaf first) at `at`.
///
/// Establishes that NVIDIA, or whoever holds the key of the pinned root, certified the leaf's key as the attestation key
/// of the device that the BROM certificate names. Presumes that `anchors` are the caller's choice.
pub(super) fn judge<'a>(
    certificates: &'a [Der],
    anchors: &'a TrustAnchors,
    at: Timestamp,
    verified: &Verified,
    checks: &mut DeviceChecks<'_>,
) -> Option<Chain<'a>> {
    let count = certificates.len();
    let wanted = format!("{CHAIN_LEN} certificates");
    if !checks.record(codes::CHAIN_LENGTH, count == CHAIN_LEN, wanted, count.to_string()) {
        return None;
    }
    let anchor = anchors.nvidia_device();
    let presented = certificates.last()?;
    let observed = match anchor {
        None => "none",
        Some(anchor) if anchor == presented.0 => "it",
        Some(_) => "another",
    };
    if !checks.record(
        codes::NO_TRUST_ANCHOR,
        observed == "it",
        "the pinned root for devices as root",
        observed,
    ) {
        return None;
    }
    let mut chain = Vec::with_capacity(CHAIN_LEN);
    for (which, certificate) in WHICH.iter().zip(certificates) {
        chain.push(parse(&certificate.0, which, checks)?);
    }
    let chain: [Certificate<'a>; CHAIN_LEN] = chain.try_into().ok()?;
    let [leaf, brom, ..] = &chain;
    let mut sound = record_links(&chain, verified, checks);
    sound &= record_authority(&chain, anchors.are_foreign(), checks);
    sound &= record_validity(&chain, at, checks);
    let chip = match unnamed_chip(&chain, anchors.are_foreign()) {
        None => record_roles(&chain, checks),
        chip => chip,
    };
    let architecture = chip.and_then(|chip| record_architecture(chip, checks));
    let pdi = architecture.and_then(|architecture| {
        unnamed_identity(brom, anchors.are_foreign())
            .or_else(|| record_identity(brom, architecture.kind(), checks))
    });
    let PublicKey::P384(key) = leaf.public_key else { return None };
    let expires = chain.iter().map(|certificate| certificate.not_after).min()?;
    let (chip, architecture, pdi) = (chip?, architecture?, pdi?);
    sound.then_some(Chain { certificates: chain, key, chip, architecture, pdi, expires })
}

fn parse<'a>(bytes: &'a [u8], which: &str, checks: &mut DeviceChecks<'_>) -> Option<Certificate<'a>> {
    let parsed = Certificate::parse(bytes);
    let observed = parsed.as_ref().err().map_or_else(|| "one".to_owned(), ToString::to_string);
    let wanted = format!("a strict X.509 certificate as {which}");
    checks.record(codes::CERTIFICATE_MALFORMED, parsed.is_ok(), wanted, observed);
    parsed.ok()
}

/// Names, key identifiers and signatures, each against the next certificate; the root was compared as a whole.
fn record_links(
    chain: &[Certificate<'_>; CHAIN_LEN],
    verified: &Verified,
    checks: &mut DeviceChecks<'_>,
) -> bool {
    let mut sound = true;
    for (which, (certificate, issuer)) in WHICH.iter().zip(chain.iter().zip(chain.iter().skip(1))) {
        let named = certificate.issuer == issuer.subject;
        let observed = if named { "it" } else { "another" };
        let wanted = format!("the next certificate as issuer of {which}");
        sound &= checks.record(codes::CERTIFICATE_ISSUER, named, wanted, observed);

        let same = names_key_of(certificate, issuer);
        let observed = match same {
            Ok(true) => "it".to_owned(),
            Ok(false) => "another".to_owned(),
            Err(error) => error.to_string(),
        };
        let wanted = format!("the issuer's key named in {which}");
        sound &= checks.record(codes::KEY_IDENTIFIER, same == Ok(true), wanted, observed);

        let signed = verified.is_signed_by(certificate, issuer);
        let observed = if signed { "valid" } else { "not valid" };
        let wanted = format!("ECDSA P-384 with SHA-384 by the issuer over {which}");
        sound &= checks.record(codes::CERTIFICATE_SIGNATURE, signed, wanted, observed);
    }
    sound
}

/// Whether the authority key identifier, where there is one, is the subject key identifier of `issuer`.
fn names_key_of(certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> Result<bool, der::Error> {
    let Some(value) = certificate.extension(AUTHORITY_KEY_IDENTIFIER) else { return Ok(true) };
    let mut outer = Reader::new(value);
    let mut fields = Reader::new(outer.read(der::SEQUENCE)?);
    outer.finish()?;
    let Some(wanted) = fields.read_optional(0x80)? else { return Ok(true) };
    let Some(value) = issuer.extension(SUBJECT_KEY_IDENTIFIER) else { return Ok(false) };
    let mut outer = Reader::new(value);
    let observed = outer.read(der::OCTET_STRING)?;
    outer.finish()?;
    Ok(wanted == observed)
}

fn record_authority(
    chain: &[Certificate<'_>; CHAIN_LEN],
    foreign: bool,
    checks: &mut DeviceChecks<'_>,
) -> bool {
    let mut sound = true;
    for (place, (which, certificate)) in WHICH.iter().zip(chain).enumerate() {
        let on_curve = matches!(certificate.public_key, PublicKey::P384(_));
        let observed = if on_curve { "P-384" } else { "another key" };
        sound &= checks.record(codes::CERTIFICATE_KEY, on_curve, format!("{which} on P-384"), observed);
        let authority = certificate.authority;
        let (passed, wanted) = if place == 0 {
            let signs = authority.may_sign_data() && (foreign || authority.signs_data);
            (signs, "no CA that may sign data".to_owned())
        } else {
            // Below certificate n stand n - 1 CAs; the leaf does not count (RFC 5280, section 4.2.1.9).
            let is_ca = authority.may_issue(place - 1) && (foreign || authority.signs_certificates);
            (is_ca, format!("a CA for certificates that allows {} below it", place - 1))
        };
        let observed = format!("{authority:?}");
        sound &= checks.record(codes::CERTIFICATE_AUTHORITY, passed, format!("{which} {wanted}"), observed);
    }
    sound
}

fn record_validity(
    chain: &[Certificate<'_>; CHAIN_LEN],
    at: Timestamp,
    checks: &mut DeviceChecks<'_>,
) -> bool {
    let mut sound = true;
    for (which, certificate) in WHICH.iter().zip(chain) {
        let observed = format!("{} to {}", certificate.not_before, certificate.not_after);
        let wanted = format!("{which} valid at {at}");
        sound &= checks.record(codes::CERTIFICATE_VALIDITY, certificate.is_valid_at(at), wanted, observed);
    }
    sound
}

/// The chip, if the names are those of the roles: `GH100 A01 GSP FMC LF`, `GH100 A01 GSP BROM`,
/// `NVIDIA GH100 Provisioner ICA 1`, `NVIDIA GH100 Identity`. The identity of LS10 is that of GH100.
fn record_roles<'a>(chain: &[Certificate<'a>; CHAIN_LEN], checks: &mut DeviceChecks<'_>) -> Option<&'a str> {
    let [leaf, brom, provisioner, identity, _] = chain;
    let engine = brom.common_name().and_then(|name| name.strip_suffix("BROM"));
    let chip = engine.and_then(|engine| engine.split(' ').next());
    let follows = |name: Option<&str>, start: String| name.is_some_and(|name| name.starts_with(&start));
    let of_identity = |name: &str| name.starts_with("NVIDIA ") && name.ends_with(" Identity");
    let odd = match (engine, chip) {
        (Some(engine), Some(chip)) => {
            if !follows(leaf.common_name(), format!("{engine}FMC")) {
                Some("attestation key")
            } else if !follows(provisioner.common_name(), format!("NVIDIA {chip} Provisioner ICA ")) {
                Some("provisioner")
            } else if !identity.common_name().is_some_and(of_identity) {
                Some("identity")
            } else {
                None
            }
        }
        _ => Some("BROM"),
    };
    let observed = odd.map_or_else(|| "they do".to_owned(), |which| format!("the name of {which} does not"));
    let wanted = "names that say the roles, of one chip";
    checks.record(codes::CERTIFICATE_ROLE, odd.is_none(), wanted, observed);
    chip.filter(|_| odd.is_none())
}

/// The chip of a chain below a foreign root whose BROM has no name of NVIDIA's form: by the form of the firmware identity,
/// which differs between the architectures.
fn unnamed_chip(chain: &[Certificate<'_>; CHAIN_LEN], foreign: bool) -> Option<&'static str> {
    let [leaf, brom, ..] = chain;
    if !foreign || brom.common_name().is_some_and(|name| name.ends_with("BROM")) {
        return None;
    }
    let is_switch =
        brom.subject_attribute(SERIAL_NUMBER).is_some_and(|serial| serial.starts_with(SWITCH_PREFIX));
    Some(if is_switch {
        "LS_10"
    } else if leaf.extension(fwid::TCB_INFO).is_some() {
        "GB100"
    } else {
        "GH100"
    })
}

/// The identity of a device below a foreign root that states none: the first bytes of the digest of its BROM's key, so that
/// it is still one device.
fn unnamed_identity(brom: &Certificate<'_>, foreign: bool) -> Option<Pdi> {
    if !foreign || brom.subject_attribute(SERIAL_NUMBER).is_some() {
        return None;
    }
    let digest = Sha256Digest::of(brom.public_key_info);
    digest.as_bytes().first_chunk().map(|bytes| Pdi(*bytes))
}

fn record_architecture(chip: &str, checks: &mut DeviceChecks<'_>) -> Option<Architecture> {
    let architecture = Architecture::of_chip(chip);
    let observed = architecture.map_or_else(|| "another".to_owned(), |known| known.to_string());
    checks.record(codes::ARCHITECTURE_UNKNOWN, architecture.is_some(), "Hopper, Blackwell or LS10", observed);
    architecture
}

/// The serialNumber of the BROM's subject: one byte for the kind of device and 8 of the PDI, in upper-case hex.
fn record_identity(brom: &Certificate<'_>, kind: Kind, checks: &mut DeviceChecks<'_>) -> Option<Pdi> {
    let prefix = match kind {
        Kind::Gpu => GPU_PREFIX,
        Kind::Switch => SWITCH_PREFIX,
    };
    let pdi = named_identity(brom, prefix);
    let observed = pdi.map_or_else(|| "another".to_owned(), |pdi| pdi.to_string());
    let wanted = format!("a serial number of {prefix} and 16 digits in the BROM certificate");
    checks.record(codes::DEVICE_IDENTITY, pdi.is_some(), wanted, observed);
    pdi
}

fn named_identity(brom: &Certificate<'_>, prefix: &str) -> Option<Pdi> {
    let digits = brom.subject_attribute(SERIAL_NUMBER).and_then(|serial| serial.strip_prefix(prefix));
    let is_hex =
        |digits: &&str| digits.len() == 16 && digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'A'..=b'F'));
    let value = digits.filter(is_hex).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    value.map(|value| Pdi(value.to_be_bytes()))
}

/// The identity that a chain names, leaf first, for a guest that names its own devices. Nothing is verified.
#[must_use]
pub fn unverified_identity(certificates: &[Der]) -> Option<Pdi> {
    let brom = Certificate::parse(&certificates.get(1)?.0).ok()?;
    named_identity(&brom, GPU_PREFIX).or_else(|| named_identity(&brom, SWITCH_PREFIX))
}
