//! Collects cases and writes them as a folder with a manifest of format 1.

use anchorhold_rats::Sha256Digest;
use anyhow::ensure;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The time that most cases are judged for.
pub(crate) const AT: &str = "2026-07-25T00:00:00Z";

/// One case before it is written.
#[derive(Debug, Clone)]
pub struct Case {
    platform: &'static str,
    files: BTreeMap<&'static str, Vec<u8>>,
    pin: &'static str,
    at: String,
    policy: Map<String, Value>,
    verdict: Option<(&'static str, &'static str)>,
}

impl Case {
    /// Evidence of one platform below the root in its files, which the manifest names as the anchor.
    #[must_use]
    pub fn new(platform: &'static str) -> Self {
        Self {
            platform,
            files: BTreeMap::new(),
            pin: "forged",
            at: AT.to_owned(),
            policy: Map::new(),
            verdict: None,
        }
    }

    /// With a file of this role; the last of one role counts.
    #[must_use]
    pub fn file(mut self, role: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(role, bytes.into());
        self
    }

    /// Without the file of this role.
    #[must_use]
    pub fn without(mut self, role: &str) -> Self {
        self.files.remove(role);
        self
    }

    /// Judged under the vendor's own root.
    #[must_use]
    pub const fn real_root(mut self) -> Self {
        self.pin = "real";
        self
    }

    /// Judged for this time.
    #[must_use]
    pub fn at(mut self, at: impl ToString) -> Self {
        self.at = at.to_string();
        self
    }

    /// Judged by this rule too.
    #[must_use]
    pub fn rule(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.policy.insert(key.to_owned(), value.into());
        self
    }

    /// To be refused in this stage with this code.
    #[must_use]
    pub const fn refused(mut self, stage: &'static str, code: &'static str) -> Self {
        self.verdict = Some((stage, code));
        self
    }
}

/// All cases.
#[derive(Debug, Default)]
pub struct Suite {
    cases: BTreeMap<String, (Case, String)>,
}

impl Suite {
    /// Adds a case under a name that is unique; `why` says what is wrong with it, for people.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn add(&mut self, id: impl Into<String>, case: Case, why: impl Into<String>) -> anyhow::Result<()> {
        let id = id.into();
        ensure!(self.cases.insert(id.clone(), (case, why.into())).is_none(), "{id} is there twice");
        Ok(())
    }

    /// Writes the folder: `manifest.json` and one file for each different content, named by its role and digest.
    /// Gives the counts of cases and files.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<(usize, usize)> {
        let store = folder.join("files");
        if store.exists() {
            std::fs::remove_dir_all(&store)?;
        }
        std::fs::create_dir_all(&store)?;
        let mut written: BTreeMap<String, ()> = BTreeMap::new();
        let mut cases = Vec::new();
        for (id, (case, why)) in &self.cases {
            let mut files = Map::new();
            for (role, bytes) in &case.files {
                let digest = Sha256Digest::of(bytes).to_string();
                let short: String = digest.chars().take(16).collect();
                let name = format!("{}-{short}.{}", stem(role), extension(role));
                if written.insert(name.clone(), ()).is_none() {
                    std::fs::write(store.join(&name), bytes)?;
                }
                files.insert((*role).to_owned(), format!("files/{name}").into());
            }
            let (stage, code) = case.verdict.unwrap_or_default();
            cases.push(json!({
                "id": id, "platform": case.platform, "files": files, "pin": case.pin, "at": case.at,
                "policy": case.policy, "expect": if case.verdict.is_some() { "reject" } else { "accept" },
                "stage": stage, "code": code, "why": why,
            }));
        }
        let count = cases.len();
        let lines: Vec<String> = cases.iter().map(Value::to_string).collect();
        let manifest = format!("{{ \"format\": 1, \"cases\": [\n{}\n] }}\n", lines.join(",\n"));
        std::fs::write(folder.join("manifest.json"), manifest)?;
        Ok((count, written.len()))
    }
}

/// The role without what tells files of one kind apart, so that equal ones are stored once.
fn stem(role: &str) -> &str {
    match role {
        "driver-rim" | "vbios-rim" => "rim",
        other => other.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-'),
    }
}

/// For people and their tools; nothing reads it.
fn extension(role: &str) -> &'static str {
    match stem(role) {
        "vek" | "ask" | "ark" | "root" | "rimroot" | "crl" | "ocsp" => "der",
        "rim" => "xml",
        "chain" => "pem",
        "collateral" | "evidence" | "dstack-eventlog" => "json",
        "profile" => "toml",
        _ => "bin",
    }
}
