//! What a PCK certificate says of its platform (Intel SGX PCK Certificate and CRL Profile Specification, section 1.3.5,
//! extension 1.2.840.113741.1.13.1).

use crate::der::{self, Reader};
use crate::x509::{Certificate, SGX_EXTENSION};
use std::fmt;

/// ENUMERATED.
const ENUMERATED: u8 = 0x0a;

/// A platform, by its provisioning id (PPID).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlatformId(pub [u8; 16]);

impl fmt::Display for PlatformId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PlatformId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlatformId({self})")
    }
}

/// How the platform protects the memory of its enclaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SgxType {
    /// With integrity and replay protection, client platforms.
    Standard,
    /// Encrypted only.
    Scalable,
    /// Encrypted with integrity.
    ScalableWithIntegrity,
}

/// What a PCK certificate says of its platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pck {
    /// PPID.
    pub platform_id: PlatformId,
    /// SGX TCB component SVNs 1 to 16.
    pub components: [u8; 16],
    /// PCESVN.
    pub pce_svn: u16,
    /// CPUSVN, which the components explain.
    pub cpu_svn: [u8; 16],
    /// PCE-ID.
    pub pce_id: [u8; 2],
    /// FMSPC: family, model, stepping, platform and custom SKU.
    pub fmspc: [u8; 6],
    /// SGX type.
    pub sgx_type: SgxType,
    /// Platform instance id; only below the platform CA.
    pub platform_instance_id: Option<[u8; 16]>,
    /// Whether packages can be added to the platform; only below the platform CA.
    pub dynamic_platform: Option<bool>,
    /// Whether Intel keeps the platform's root keys; only below the platform CA.
    pub cached_keys: Option<bool>,
    /// Whether simultaneous multithreading is on; only below the platform CA.
    pub smt_enabled: Option<bool>,
}

impl Pck {
    /// Reads the extension of a PCK certificate.
    ///
    /// # Errors
    /// [`der::Error`] when the extension is missing, incomplete, not in the order of the specification, or has more.
    pub fn read(leaf: &Certificate<'_>) -> Result<Self, der::Error> {
        let value = leaf.extension(SGX_EXTENSION).ok_or(der::Error::Value("absence of the SGX extension"))?;
        let mut outer = Reader::new(value);
        let mut fields = Reader::new(outer.read(der::SEQUENCE)?);
        outer.finish()?;
        let platform_id = PlatformId(octets(&mut fields, &[1])?);
        let mut tcb = Reader::new(item(&mut fields, &[2], der::SEQUENCE)?);
        let mut components = [0; 16];
        for (arc, svn) in (1..=16).zip(&mut components) {
            let [0, value] = number(&mut tcb, &[2, arc])?.to_be_bytes() else {
                return Err(der::Error::Value("TCB component"));
            };
            *svn = value;
        }
        let pce_svn = number(&mut tcb, &[2, 17])?;
        let cpu_svn = octets(&mut tcb, &[2, 18])?;
        tcb.finish()?;
        let pce_id = octets(&mut fields, &[3])?;
        let fmspc = octets(&mut fields, &[4])?;
        let sgx_type = match item(&mut fields, &[5], ENUMERATED)? {
            [0] => SgxType::Standard,
            [1] => SgxType::Scalable,
            [2] => SgxType::ScalableWithIntegrity,
            _ => return Err(der::Error::Value("SGX type")),
        };
        let platform_instance_id = if names(&fields, &[6]) { Some(octets(&mut fields, &[6])?) } else { None };
        let mut flags =
            Reader::new(if names(&fields, &[7]) { item(&mut fields, &[7], der::SEQUENCE)? } else { &[] });
        let dynamic_platform = flag(&mut flags, &[7, 1])?;
        let cached_keys = flag(&mut flags, &[7, 2])?;
        let smt_enabled = flag(&mut flags, &[7, 3])?;
        flags.finish()?;
        fields.finish()?;
        Ok(Self {
            platform_id,
            components,
            pce_svn,
            cpu_svn,
            pce_id,
            fmspc,
            sgx_type,
            platform_instance_id,
            dynamic_platform,
            cached_keys,
            smt_enabled,
        })
    }
}

/// The contents of the next pair of OID and value, if its OID is the extension's followed by `arc`.
fn item<'a>(fields: &mut Reader<'a>, arc: &[u8], tag: u8) -> Result<&'a [u8], der::Error> {
    let mut pair = Reader::new(fields.read(der::SEQUENCE)?);
    let id = pair.read(der::OBJECT_IDENTIFIER)?;
    if id.strip_prefix(SGX_EXTENSION) != Some(arc) {
        return Err(der::Error::Value("order of the SGX extension"));
    }
    let value = pair.read(tag)?;
    pair.finish()?;
    Ok(value)
}

/// Whether the next pair has the OID of the extension followed by `arc`.
fn names(fields: &Reader<'_>, arc: &[u8]) -> bool {
    let id =
        fields.clone().read(der::SEQUENCE).and_then(|pair| Reader::new(pair).read(der::OBJECT_IDENTIFIER));
    id.is_ok_and(|id| id.strip_prefix(SGX_EXTENSION) == Some(arc))
}

fn octets<const N: usize>(fields: &mut Reader<'_>, arc: &[u8]) -> Result<[u8; N], der::Error> {
    item(fields, arc, der::OCTET_STRING)?
        .try_into()
        .map_err(|_| der::Error::Value("length in the SGX extension"))
}

fn number(fields: &mut Reader<'_>, arc: &[u8]) -> Result<u16, der::Error> {
    match item(fields, arc, der::INTEGER)? {
        [value @ 0..=0x7f] | [0, value @ 0x80..=0xff] => Ok(u16::from(*value)),
        [high @ 1..=0x7f, low] | [0, high @ 0x80..=0xff, low] => Ok(u16::from_be_bytes([*high, *low])),
        _ => Err(der::Error::Value("number in the SGX extension")),
    }
}

fn flag(fields: &mut Reader<'_>, arc: &[u8]) -> Result<Option<bool>, der::Error> {
    if !names(fields, arc) {
        return Ok(None);
    }
    match item(fields, arc, der::BOOLEAN)? {
        [0] => Ok(Some(false)),
        [0xff] => Ok(Some(true)),
        _ => Err(der::Error::Value("flag in the SGX extension")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(tag: u8, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).unwrap();
        let mut id = SGX_EXTENSION.to_vec();
        id.push(9);
        let mut inner = vec![der::OBJECT_IDENTIFIER, u8::try_from(id.len()).unwrap()];
        inner.extend(id);
        inner.extend([tag, length]);
        inner.extend(value);
        let mut out = vec![der::SEQUENCE, u8::try_from(inner.len()).unwrap()];
        out.extend(inner);
        out
    }

    #[test]
    fn numbers_have_one_form() {
        let read = |value: &[u8]| number(&mut Reader::new(&pair(der::INTEGER, value)), &[9]);
        for (value, wanted) in
            [(&[0][..], 0), (&[0x7f], 0x7f), (&[0, 0x80], 0x80), (&[1, 0], 0x100), (&[0, 0xff, 0xff], 0xffff)]
        {
            assert_eq!(read(value), Ok(wanted), "{value:02x?}");
        }
        for bad in [&[][..], &[0x80], &[0, 0x7f], &[0, 0], &[0x80, 0], &[0, 1, 0], &[1, 0, 0], &[0, 1, 0, 0]]
        {
            assert!(read(bad).is_err(), "{bad:02x?}");
        }
    }

    #[test]
    fn flags_are_canonical_or_absent() {
        let read = |value: &[u8]| flag(&mut Reader::new(&pair(der::BOOLEAN, value)), &[9]);
        assert_eq!(read(&[0]), Ok(Some(false)));
        assert_eq!(read(&[0xff]), Ok(Some(true)));
        assert!(read(&[1]).is_err());
        assert_eq!(flag(&mut Reader::new(&pair(der::BOOLEAN, &[0])), &[8]), Ok(None));
        assert_eq!(flag(&mut Reader::new(&[]), &[9]), Ok(None));
    }
}
