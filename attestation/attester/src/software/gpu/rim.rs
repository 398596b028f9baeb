//! Reference integrity manifests: TCG RIM as SWID tag, with NVIDIA's elements and attributes.
//!
//! The text is written in the form of Canonical XML 1.1, so that what is digested is what stands there.

use super::{Chip, GpuConfig, authority};
use anchorhold_rats::hex;
use ring::digest::{SHA384, digest};

/// The namespace of SWID tags.
const SWID: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
const RIM: &str =
    "https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/";
const SHA384_NAMESPACE: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
/// The namespaces in scope at the root, in canonical order around that of signatures.
pub(super) const NAMESPACES: [(&str, &str); 3] =
    [("xmlns", SWID), ("xmlns:ns0", SWID), ("xmlns:ns2", SHA384_NAMESPACE)];
/// Indices of a GPU's manifests.
const INDICES: u8 = 64;

/// What a manifest is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// A GPU's driver.
    Driver,
    /// A GPU's VBIOS.
    Vbios,
    /// A switch's BIOS.
    SwitchBios,
}

impl Edition {
    /// Whether simulated manifests of this kind have a value at this index: those of GH100 and LS10.
    const fn owns(self, index: u8) -> bool {
        match self {
            Self::Driver => matches!(index, 7 | 21..=40),
            Self::Vbios => matches!(index, 0..=6 | 8..=12),
            Self::SwitchBios => index <= 30,
        }
    }

    /// How many values an index has, as in real manifests.
    const fn alternatives(self, index: u8) -> u8 {
        match (self, index) {
            (Self::Driver, 23 | 24 | 35) => 2,
            (Self::Vbios, 12) | (Self::SwitchBios, 9..=25) => 4,
            _ => 1,
        }
    }
}

/// One Resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RimResource {
    /// `type`, which is "Measurement".
    pub kind: String,
    /// `index`, from 0.
    pub index: String,
    /// `active`: True or False.
    pub active: String,
    /// `alternatives`.
    pub alternatives: String,
    /// `name`.
    pub name: String,
    /// `size`, which is 48.
    pub size: String,
    /// `Hash0`, `Hash1` and so on, hex.
    pub hashes: Vec<String>,
}

impl RimResource {
    /// An index at which the device may have each of these values.
    #[must_use]
    pub fn active(index: u8, values: &[[u8; 48]]) -> Self {
        Self::new(index, "True", &format!("HashedMeasurement_{index}_SIMULATED"), values)
    }

    /// An index that this manifest says nothing about.
    #[must_use]
    pub fn inactive(index: u8) -> Self {
        Self::new(index, "False", &format!("Measurement_{index}"), &[[0; 48]])
    }

    fn new(index: u8, active: &str, name: &str, values: &[[u8; 48]]) -> Self {
        Self {
            kind: "Measurement".to_owned(),
            index: index.to_string(),
            active: active.to_owned(),
            alternatives: values.len().to_string(),
            name: name.to_owned(),
            size: "48".to_owned(),
            hashes: values.iter().map(|value| hex(value)).collect(),
        }
    }

    fn write(&self) -> String {
        let mut attributes = vec![
            ("active".to_owned(), &self.active),
            ("alternatives".to_owned(), &self.alternatives),
            ("index".to_owned(), &self.index),
            ("name".to_owned(), &self.name),
            ("size".to_owned(), &self.size),
            ("type".to_owned(), &self.kind),
        ];
        let mut hashes: Vec<_> = self
            .hashes
            .iter()
            .enumerate()
            .map(|(number, hash)| (format!("ns2:Hash{number}"), hash))
            .collect();
        // Canonical order is that of text: Hash10 before Hash2.
        hashes.sort();
        attributes.extend(hashes);
        let attributes: String =
            attributes.iter().map(|(name, value)| format!(" {name}=\"{}\"", escape(value))).collect();
        format!("        <ns0:Resource{attributes}></ns0:Resource>\n")
    }
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RimTemplate {
    /// `name` of the root and `product`: the chip.
    pub product: String,
    /// `edition`: GPU or SWITCH.
    pub edition: String,
    /// `colloquialVersion`: the version of the driver or BIOS.
    pub version: String,
    /// `tagId`.
    pub tag_id: String,
    /// Name of the Entity and of both manufacturers.
    pub maker: String,
    /// The Resources.
    pub resources: Vec<RimResource>,
}

impl RimTemplate {
    /// The manifest of this kind that a device with this configuration matches, as long as its measurements are those of
    /// [`Chip::measurement`].
    #[must_use]
    pub fn of(config: &GpuConfig, edition: Edition) -> Self {
        let chip = config.chip;
        let version = match edition {
            Edition::Driver => config.driver_version.clone(),
            Edition::Vbios | Edition::SwitchBios => config.vbios_text(),
        };
        let text = format!("anchorhold simulated manifest {} {edition:?} {version}", chip.name());
        Self {
            product: chip.name().to_owned(),
            edition: if edition == Edition::SwitchBios { "SWITCH" } else { "GPU" }.to_owned(),
            version,
            tag_id: hex(digest(&SHA384, text.as_bytes()).as_ref()),
            maker: authority::SIMULATED.to_owned(),
            resources: (0..INDICES).map(|index| resource(chip, edition, index)).collect(),
        }
    }

    /// The canonical text without a signature and without a line feed at its end.
    #[must_use]
    pub fn document(&self) -> String {
        let namespaces: String = NAMESPACES.iter().map(|(name, uri)| format!(" {name}=\"{uri}\"")).collect();
        let (product, version) = (escape(&self.product), escape(&self.version));
        let (edition, tag_id) = (escape(&self.edition), escape(&self.tag_id));
        let maker = escape(&self.maker);
        let resources: String = self.resources.iter().map(RimResource::write).collect();
        [
            format!(
                "<SoftwareIdentity{namespaces} corpus=\"false\" name=\"{product}\" patch=\"false\" \
                 supplemental=\"false\" tagId=\"{tag_id}\" tagVersion=\"0\" version=\"1.0\">\n"
            ),
            format!("    <ns0:Entity name=\"{maker}\" role=\"softwareCreator tagCreator\"></ns0:Entity>\n"),
            format!(
                "    <ns0:Meta xmlns:ns1=\"{RIM}\" PayloadType=\"direct\" colloquialVersion=\"{version}\" \
                 edition=\"{edition}\" product=\"{product}\" revision=\"r1\" ns1:BindingSpec=\"RIMIM\" \
                 ns1:BindingSpecVersion=\"1.01\" ns1:FirmwareManufacturer=\"{maker}\" \
                 ns1:FirmwareManufacturerId=\"5703\" ns1:PlatformManufacturerId=\"5703\" \
                 ns1:PlatformManufacturerStr=\"{maker}\" ns1:PlatformModel=\"{product}\"></ns0:Meta>\n"
            ),
            format!("    <ns0:Payload xmlns:SHA384=\"{SHA384_NAMESPACE}\">\n"),
            resources,
            "    </ns0:Payload>\n".to_owned(),
            "</SoftwareIdentity>".to_owned(),
        ]
        .concat()
    }
}

fn resource(chip: Chip, edition: Edition, index: u8) -> RimResource {
    if !edition.owns(index) {
        return RimResource::inactive(index);
    }
    // The device's own value is the last of several.
    let others = 1..edition.alternatives(index);
    let mut values: Vec<[u8; 48]> = others.map(|number| [number; 48]).collect();
    values.push(chip.measurement(index));
    RimResource::active(index, &values)
}

/// The value of an attribute in canonical form (Canonical XML 1.1, section 2.3).
fn escape(value: &str) -> String {
    let mut out = String::new();
    for character in value.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#x9;"),
            '\n' => out.push_str("&#xA;"),
            '\r' => out.push_str("&#xD;"),
            other => out.push(other),
        }
    }
    out
}
