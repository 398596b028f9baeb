//! The crates that programs are built from: what `cargo metadata` says, with the digests of `Cargo.lock`.

use crate::{Component, Error, Kind, MAX_COMPONENTS, limited};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The longest metadata, in bytes.
pub const MAX_METADATA_BYTES: usize = 64 << 20;
/// The longest `Cargo.lock`, in bytes.
pub const MAX_LOCK_BYTES: usize = 8 << 20;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    targets: Vec<Target>,
}

/// What cargo makes of a package.
#[derive(Deserialize)]
struct Target {
    name: String,
    /// `bin` for a program; `lib`, `test` and others.
    kind: Vec<String>,
}

impl Package {
    fn makes(&self, program: &str) -> bool {
        self.targets
            .iter()
            .any(|target| target.name == program && target.kind.iter().any(|kind| kind == "bin"))
    }
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// Nothing for what is linked, `build` or `dev`.
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    #[serde(rename = "package", default)]
    packages: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    #[serde(default)]
    checksum: String,
}

/// The crates that `programs` are built from, with the packages that make them: what is linked and what runs in the build, not what only
/// tests use.
///
/// # Errors
/// [`Error`] when either text is too long or malformed, a package is not there, or a program is made by no package or by more than one.
pub fn components(metadata: &str, lock: &str, programs: &[&str]) -> Result<Vec<Component>, Error> {
    let what = "cargo metadata";
    let metadata: Metadata =
        serde_json::from_str(limited("bytes of cargo metadata", metadata, MAX_METADATA_BYTES)?)
            .map_err(|error| Error::malformed(what, &error.to_string()))?;
    let lock: Lock = toml::from_str(limited("bytes of Cargo.lock", lock, MAX_LOCK_BYTES)?)
        .map_err(|error| Error::malformed("Cargo.lock", error.message()))?;
    let packages: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let digests: BTreeMap<(&str, &str), &str> = lock
        .packages
        .iter()
        .map(|locked| ((locked.name.as_str(), locked.version.as_str()), locked.checksum.as_str()))
        .collect();

    let mut waiting = Vec::new();
    for program in programs {
        let mut makers = metadata.packages.iter().filter(|package| package.makes(program));
        let package =
            makers.next().ok_or_else(|| Error::missing("package that makes the program", program))?;
        if makers.next().is_some() {
            return Err(Error::malformed(what, &format!("more than one package makes {program}")));
        }
        waiting.push(package.id.as_str());
    }
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if !reached.insert(id) {
            continue;
        }
        if reached.len() > MAX_COMPONENTS {
            return Err(Error::TooLong { what: "crates", limit: MAX_COMPONENTS, observed: reached.len() });
        }
        let node = nodes.get(id).ok_or_else(|| Error::missing("node of package", id))?;
        waiting.extend(built_from(node));
    }

    let mut out = Vec::new();
    for id in reached {
        let package = packages.get(id).ok_or_else(|| Error::missing("package", id))?;
        let depends = nodes.get(id).into_iter().flat_map(|node| built_from(node));
        let mut depends: Vec<String> = depends
            .filter_map(|id| packages.get(id))
            .map(|package| component(package, &digests).purl())
            .collect();
        depends.sort();
        depends.dedup();
        out.push(Component { depends, ..component(package, &digests) });
    }
    out.sort();
    Ok(out)
}

fn built_from(node: &Node) -> impl Iterator<Item = &str> {
    let is_built = |dependency: &&Dependency| {
        dependency.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev"))
    };
    node.deps.iter().filter(is_built).map(|dependency| dependency.pkg.as_str())
}

fn component(package: &Package, digests: &BTreeMap<(&str, &str), &str>) -> Component {
    let digest = digests.get(&(package.name.as_str(), package.version.as_str()));
    Component {
        kind: Kind::Cargo,
        name: package.name.clone(),
        version: package.version.clone(),
        source: String::new(),
        sha256: digest.map_or_else(String::new, |digest| (*digest).to_owned()),
        licence: package.license.clone().unwrap_or_default(),
        depends: Vec::new(),
    }
}
