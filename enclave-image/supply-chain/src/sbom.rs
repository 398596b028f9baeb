//! A list of components as CycloneDX 1.6 in JSON (ECMA-424). Without serial number and with a time that is given, so that the same
//! components make the same bytes.

use crate::{Component, Error, Kind, MAX_COMPONENTS, limited};
use anchorhold_rats::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest list that is read, in bytes.
pub const MAX_SBOM_BYTES: usize = 32 << 20;
const FORMAT: &str = "CycloneDX";
const VERSION: &str = "1.6";
const SOURCE: &str = "anchorhold:debian:source";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    bom_format: String,
    spec_version: String,
    version: u32,
    metadata: Metadata,
    components: Vec<Part>,
    #[serde(default)]
    dependencies: Vec<Edges>,
}

#[derive(Serialize, Deserialize)]
struct Metadata {
    timestamp: Timestamp,
    component: Subject,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    version: String,
}

#[derive(Serialize, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "bom-ref", default)]
    reference: String,
    name: String,
    version: String,
    purl: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<Licence>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

#[derive(Serialize, Deserialize)]
struct Hash {
    alg: String,
    content: String,
}

#[derive(Serialize, Deserialize)]
struct Licence {
    expression: String,
}

#[derive(Serialize, Deserialize)]
struct Property {
    name: String,
    value: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Edges {
    #[serde(rename = "ref")]
    reference: String,
    depends_on: Vec<String>,
}

/// The list of what the image `name` in `version` is made of, made at `at`.
///
/// # Panics
/// Never: the document has only texts and lists.
#[must_use]
pub fn write(name: &str, version: &str, at: Timestamp, components: &[Component]) -> String {
    let mut sorted: Vec<&Component> = components.iter().collect();
    sorted.sort();
    let edges =
        |component: &&Component| Edges { reference: component.purl(), depends_on: component.depends.clone() };
    let document = Document {
        bom_format: FORMAT.to_owned(),
        spec_version: VERSION.to_owned(),
        version: 1,
        metadata: Metadata {
            timestamp: at,
            component: Subject {
                kind: "operating-system".to_owned(),
                name: name.to_owned(),
                version: version.to_owned(),
            },
        },
        dependencies: sorted.iter().filter(|component| component.kind == Kind::Cargo).map(edges).collect(),
        components: sorted.into_iter().map(part).collect(),
    };
    let mut text = serde_json::to_string_pretty(&document).expect("texts and lists are JSON");
    text.push('\n');
    text
}

fn part(component: &Component) -> Part {
    let Component { kind, name, version, source, sha256, licence, .. } = component;
    let hash = Hash { alg: "SHA-256".to_owned(), content: sha256.clone() };
    let property = Property { name: SOURCE.to_owned(), value: source.clone() };
    Part {
        kind: if *kind == Kind::Cargo { "library" } else { "application" }.to_owned(),
        reference: component.purl(),
        name: name.clone(),
        version: version.clone(),
        purl: component.purl(),
        hashes: if sha256.is_empty() { Vec::new() } else { vec![hash] },
        licenses: if licence.is_empty() { Vec::new() } else { vec![Licence { expression: licence.clone() }] },
        properties: if source.is_empty() { Vec::new() } else { vec![property] },
    }
}

/// The crates and Debian packages of a list, also one that another program wrote; other parts are left out.
///
/// # Errors
/// [`Error`] when the text is too long or malformed, or has too many parts.
pub fn read(text: &str) -> Result<Vec<Component>, Error> {
    let what = "CycloneDX document";
    let document: Document =
        serde_json::from_str(limited("bytes of a CycloneDX document", text, MAX_SBOM_BYTES)?)
            .map_err(|error| Error::malformed(what, &error.to_string()))?;
    if document.bom_format != FORMAT {
        return Err(Error::malformed(what, &document.bom_format));
    }
    if document.components.len() > MAX_COMPONENTS {
        let observed = document.components.len();
        return Err(Error::TooLong { what: "components", limit: MAX_COMPONENTS, observed });
    }
    let mut out: Vec<Component> = document.components.into_iter().filter_map(component).collect();
    for component in &mut out {
        let purl = component.purl();
        if let Some(edges) = document.dependencies.iter().find(|edges| edges.reference == purl) {
            component.depends.clone_from(&edges.depends_on);
        }
    }
    out.sort();
    Ok(out)
}

fn component(part: Part) -> Option<Component> {
    let kind = if part.purl.starts_with("pkg:cargo/") {
        Kind::Cargo
    } else if part.purl.starts_with("pkg:deb/") {
        Kind::Debian
    } else {
        return None;
    };
    let source = part.properties.into_iter().find(|property| property.name == SOURCE);
    // Who does not name the source means that it has the package's name.
    let source = match (source, kind) {
        (Some(property), _) => property.value,
        (None, Kind::Debian) => part.name.clone(),
        (None, Kind::Cargo) => String::new(),
    };
    Some(Component {
        kind,
        name: part.name,
        version: part.version,
        source,
        sha256: part
            .hashes
            .into_iter()
            .find(|hash| hash.alg == "SHA-256")
            .map_or_else(String::new, |hash| hash.content),
        licence: part.licenses.into_iter().next().map_or_else(String::new, |licence| licence.expression),
        depends: Vec::new(),
    })
}
