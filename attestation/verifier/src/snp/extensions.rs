//! AMD's extensions of VCEKs and VLEKs (AMD 57230, table "VCEK Certificate X.509v3 Extensions").

use super::{ChipId, Product, RawTcb};
use crate::der::{self, Reader};
use crate::x509::Certificate;

/// The longest CSP_ID that is read, in bytes.
const MAX_CSP_ID_BYTES: usize = 128;

/// The arcs under 1.3.6.1.4.1.3704.1 of the TCB components, in the order of the 8 bytes of a TCB version.
const OLD_COMPONENTS: [(u8, Presence); 8] = [
    (1, Presence::Required),
    (2, Presence::Required),
    (4, Presence::Optional),
    (5, Presence::Optional),
    (6, Presence::Optional),
    (7, Presence::Optional),
    (3, Presence::Required),
    (8, Presence::Required),
];
const TURIN_COMPONENTS: [(u8, Presence); 8] = [
    (9, Presence::Required),
    (1, Presence::Required),
    (2, Presence::Required),
    (3, Presence::Required),
    (5, Presence::Optional),
    (6, Presence::Optional),
    (7, Presence::Optional),
    (8, Presence::Required),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Required,
    Optional,
}

/// AMD's extensions of a VCEK or VLEK.
#[derive(Debug)]
pub(crate) struct Extensions {
    pub(crate) product: Product,
    /// The TCB for which AMD certified the key, in the layout of the product.
    pub(crate) tcb: RawTcb,
    /// The chip; of a VCEK only.
    pub(crate) hwid: Option<ChipId>,
    /// The cloud provider (CSP_ID); of a VLEK only.
    pub(crate) provider: Option<String>,
}

impl Extensions {
    /// Reads the extensions of `leaf`.
    ///
    /// # Errors
    /// [`der::Error`] when one is missing, malformed or out of range.
    pub(crate) fn read(leaf: &Certificate<'_>) -> Result<Self, der::Error> {
        let missing = der::Error::Value("missing extension");
        let version = leaf.amd_extension(&[1]).map(whole_byte).ok_or(missing)??;
        let mut name = Reader::new(leaf.amd_extension(&[2]).ok_or(missing)?);
        let text = std::str::from_utf8(name.read(der::IA5_STRING)?).unwrap_or_default();
        name.finish()?;
        let product = Product::from_name(text).ok_or(der::Error::Value("productName"))?;
        // Version 1 came with the FMC, which only Turin has.
        if version != u8::from(product == Product::Turin) {
            return Err(der::Error::Value("structVersion"));
        }
        let components = if product == Product::Turin { TURIN_COMPONENTS } else { OLD_COMPONENTS };
        let mut tcb = [0; 8];
        for ((arc, presence), byte) in components.into_iter().zip(&mut tcb) {
            match leaf.amd_extension(&[3, arc]) {
                Some(value) => *byte = whole_byte(value)?,
                None if presence == Presence::Required => return Err(missing),
                None => {}
            }
        }
        if product != Product::Turin && leaf.amd_extension(&[3, 9]).is_some() {
            return Err(der::Error::Value("FMC extension"));
        }
        let hwid = leaf.amd_extension(&[4]).map(|value| read_hwid(product, value)).transpose()?;
        let provider = leaf.amd_extension(&[5]).map(read_provider).transpose()?;
        Ok(Self { product, tcb: RawTcb(tcb), hwid, provider })
    }
}

/// CSP_ID is printable text, such as a host name.
fn read_provider(value: &[u8]) -> Result<String, der::Error> {
    let mut reader = Reader::new(value);
    let text = reader.read(der::IA5_STRING)?;
    reader.finish()?;
    let is_text = (1..=MAX_CSP_ID_BYTES).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
    let text = is_text.then(|| std::str::from_utf8(text).ok()).flatten();
    text.map(str::to_string).ok_or(der::Error::Value("CSP_ID"))
}

fn whole_byte(value: &[u8]) -> Result<u8, der::Error> {
    let mut reader = Reader::new(value);
    let byte = reader.byte_integer()?;
    reader.finish()?;
    Ok(byte)
}

/// HWID is 64 bytes, 8 on Turin; bare in real certificates, a DER OCTET STRING in the specification.
fn read_hwid(product: Product, value: &[u8]) -> Result<ChipId, der::Error> {
    let wanted = if product == Product::Turin { 8 } else { 64 };
    let bytes = if value.len() == wanted {
        value
    } else {
        let mut reader = Reader::new(value);
        let inner = reader.read(der::OCTET_STRING)?;
        reader.finish()?;
        inner
    };
    let mut id = [0; 64];
    let (used, _) = id.split_at_mut(wanted);
    if bytes.len() != wanted {
        return Err(der::Error::Value("HWID"));
    }
    used.copy_from_slice(bytes);
    Ok(ChipId(id))
}
