//! Which advisories are about an image, and what a rebuild would change.

pub mod debian;
pub mod rustsec;

use crate::{Component, Kind};

/// How much an advisory matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// A weakness.
    Vulnerable,
    /// A remark: unmaintained, unsound, or of little weight to its database.
    Remark,
}

/// An advisory that is about a part of the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// How much it matters.
    pub weight: Weight,
    /// Its id, such as `RUSTSEC-2024-0001` or `CVE-2024-0001`.
    pub id: String,
    /// From where the part comes.
    pub kind: Kind,
    /// The part.
    pub name: String,
    /// The version that the image has.
    pub version: String,
    /// What a rebuild would have to take: a version, or requirements of which one is to be met. Empty where there is no fix yet.
    pub fixed: Vec<String>,
    /// What it is about, in one line.
    pub title: String,
}

impl Finding {
    fn of(component: &Component, weight: Weight, id: &str, title: &str) -> Self {
        const MAX_TITLE_CHARS: usize = 160;
        Self {
            weight,
            id: id.to_owned(),
            kind: component.kind,
            name: component.name.clone(),
            version: component.version.clone(),
            fixed: Vec::new(),
            title: title.chars().filter(|c| !c.is_control()).take(MAX_TITLE_CHARS).collect(),
        }
    }
}
