//! The claims of a manifest: a primary software identification tag (ISO/IEC 19770-2:2015) with the attributes of the TCG's
//! PC Client RIM Information Model.

use super::{SIGNATURE_NAMESPACE, codes, record};
use crate::xml::Element;
use anchorhold_rats::Checks;
use std::fmt;

pub(super) const NAMESPACE: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
/// The namespace of the attributes Hash0, Hash1 and so on.
const SHA384_NAMESPACE: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
/// The length of every value, in bytes.
pub(super) const VALUE_LEN: usize = 48;
/// The most values of one Resource; four is the most seen.
const MAX_ALTERNATIVES: usize = 32;
/// The longest text of a claim, in bytes; tagIds have 96.
const MAX_TEXT: usize = 128;
/// The last index: SPDM counts blocks from 1, in one byte, of which 0xff means all.
const MAX_INDEX: u8 = 0xfd;

/// What a manifest is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A GPU's driver: edition GPU, and a version of two or three decimal numbers.
    Driver,
    /// A GPU's firmware: edition GPU, and a version of five bytes in hexadecimal.
    Vbios,
    /// An NVSwitch's firmware: edition SWITCH, and a version of five bytes in hexadecimal.
    SwitchBios,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Driver => "driver",
            Self::Vbios => "VBIOS",
            Self::SwitchBios => "switch BIOS",
        })
    }
}

/// The values of one measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Counted from 0; the block of a report has the next number.
    pub index: u8,
    /// Whether a report is held to it.
    pub active: bool,
    /// The values, of which a report must show one.
    pub alternatives: Vec<[u8; VALUE_LEN]>,
}

/// All claims of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) id: String,
    pub(super) version: String,
    pub(super) product: String,
    pub(super) kind: Kind,
    /// By index.
    pub(super) resources: Vec<Resource>,
}

/// Reads the claims of the root element, whose digest the caller has compared.
pub(super) fn read(root: Element<'_>, checks: &mut Checks) -> Option<Tag> {
    let id = root.attribute("tagId").and_then(claim);
    let primary = ["corpus", "patch", "supplemental"]
        .iter()
        .all(|name| root.attribute(name).is_none_or(|value| value == "false"));
    let parts = root.children().and_then(|children| parts(&children));
    let complete = id.is_some() && primary && parts.is_some();
    let what = "a primary tag with tagId, Entities, one Meta, one Payload and a Signature, and no more";
    record(checks, codes::TAG, complete, what).then_some(())?;
    let ((meta, payload), id) = parts.zip(id)?;
    let (edition, version, product) = read_meta(meta, checks)?;
    let kind = kind(edition, version);
    let what = "edition GPU or SWITCH with a version of a driver, a VBIOS or a switch BIOS";
    record(checks, codes::KIND, kind.is_some(), what);
    let kind = kind?;
    let resources = read_payload(payload, checks)?;
    let (id, version, product) = (id.to_string(), version.to_string(), product.to_string());
    Some(Tag { id, version, product, kind, resources })
}

/// Meta and Payload, if the children are what a tag of NVIDIA has.
fn parts<'d>(children: &[Element<'d>]) -> Option<(Element<'d>, Element<'d>)> {
    let (mut meta, mut payload) = (None, None);
    for child in children {
        let doubled = if child.is(NAMESPACE, "Meta") {
            meta.replace(*child).is_some()
        } else if child.is(NAMESPACE, "Payload") {
            payload.replace(*child).is_some()
        } else {
            !child.is(NAMESPACE, "Entity") && !child.is(SIGNATURE_NAMESPACE, "Signature")
        };
        if doubled {
            return None;
        }
    }
    meta.zip(payload)
}

/// Edition, version and product.
fn read_meta<'d>(meta: Element<'d>, checks: &mut Checks) -> Option<(&'d str, &'d str, &'d str)> {
    let read = |name: &str| meta.attribute(name).and_then(claim);
    let claims = read("edition").zip(read("colloquialVersion")).zip(read("product"));
    let claims = claims.filter(|_| {
        meta.attribute("PayloadType") == Some("direct")
            && meta.children().is_some_and(|inner| inner.is_empty())
    });
    let what = "product, colloquialVersion and edition of a direct payload";
    record(checks, codes::META, claims.is_some(), what);
    claims.map(|((edition, version), product)| (edition, version, product))
}

/// The text of a claim: short, and of the characters that NVIDIA uses in versions and names.
fn claim(text: &str) -> Option<&str> {
    let known = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
    (!text.is_empty() && text.len() <= MAX_TEXT && text.chars().all(known)).then_some(text)
}

/// NVIDIA's manifests do not name their kind in one place; these are the forms of all that were seen.
fn kind(edition: &str, version: &str) -> Option<Kind> {
    let groups: Vec<&str> = version.split('.').collect();
    let is_byte = |group: &&str| group.len() == 2 && group.chars().all(|digit| digit.is_ascii_hexdigit());
    let is_number = |group: &&str| !group.is_empty() && group.chars().all(|digit| digit.is_ascii_digit());
    let firmware = groups.len() == 5 && groups.iter().all(is_byte);
    let driver = matches!(groups.len(), 2 | 3) && groups.iter().all(is_number);
    match edition {
        "GPU" if driver => Some(Kind::Driver),
        "GPU" if firmware => Some(Kind::Vbios),
        "SWITCH" if firmware => Some(Kind::SwitchBios),
        _ => None,
    }
}

fn read_payload(payload: Element<'_>, checks: &mut Checks) -> Option<Vec<Resource>> {
    let what =
        "Resources of measurements with index, size 48 and as many SHA-384 values as they say, and no more";
    let resources: Option<Vec<Resource>> = payload
        .children()
        .filter(|_| payload.attributes().next().is_none())
        .and_then(|children| children.into_iter().map(read_resource).collect());
    record(checks, codes::RESOURCE, resources.is_some(), what);
    let mut resources = resources?;
    resources.sort_by_key(|resource| resource.index);
    let doubled = resources.windows(2).find_map(|pair| match pair {
        [first, second] if first.index == second.index => Some(first.index),
        _ => None,
    });
    let observed = doubled.map_or_else(|| "none twice".to_string(), |index| format!("index {index} twice"));
    let mut sound = checks.record(codes::RESOURCE_DUPLICATE, doubled.is_none(), "each index once", observed);
    let active = resources.iter().filter(|resource| resource.active).count();
    sound &= checks.record(codes::NO_VALUES, active > 0, "an active Resource", active.to_string());
    sound.then_some(resources)
}

fn read_resource(element: Element<'_>) -> Option<Resource> {
    let count: usize = decimal(element.attribute("alternatives")?)?.into();
    let names = ["type", "index", "active", "alternatives", "name", "size"];
    let is_measurement = element.is(NAMESPACE, "Resource")
        && element.children()?.is_empty()
        && element.attribute("type") == Some("Measurement")
        && decimal(element.attribute("size")?) == u8::try_from(VALUE_LEN).ok()
        && element.attribute("name").is_some_and(|name| claim(name).is_some())
        && (1..=MAX_ALTERNATIVES).contains(&count)
        && element.attributes().count() == names.len() + count;
    let index = decimal(element.attribute("index")?).filter(|index| is_measurement && *index <= MAX_INDEX)?;
    let active = match element.attribute("active")? {
        "True" => true,
        "False" => false,
        _ => return None,
    };
    // Names are unique and their number is right, so all of these being there means that there are no others.
    let alternatives = (0..count).map(|number| hash(element, number)).collect::<Option<_>>()?;
    Some(Resource { index, active, alternatives })
}

fn hash(element: Element<'_>, number: usize) -> Option<[u8; VALUE_LEN]> {
    let name = format!("Hash{number}");
    let (.., text) = element
        .attributes()
        .find(|(namespace, local, _)| *namespace == SHA384_NAMESPACE && *local == name)?;
    let mut value = [0; VALUE_LEN];
    if text.len() != 2 * VALUE_LEN {
        return None;
    }
    for (byte, digits) in value.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = digits else { return None };
        let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(value)
}

/// A number from 0 to 255 in its shortest decimal form.
fn decimal(text: &str) -> Option<u8> {
    let value = text.parse::<u8>().ok()?;
    (value.to_string() == text).then_some(value)
}
