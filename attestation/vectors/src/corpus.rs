//! A folder of cases, and one case at a time.

use crate::manifest::{Case, Expectation, MAX_CASES, MAX_MANIFEST_BYTES, Manifest, UnreadCase};
use crate::platform::{self, Presented};
use anchorhold_appraisal_policy::PolicyError;
use anchorhold_rats::{Checks, Stage};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

/// The longest file of a case that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;

/// Why a folder or a case was not read. A case that is not read has no verdict.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing or not readable.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is over its limit.
    #[error("{path} is over the limit of {limit} bytes")]
    TooLong {
        /// Which.
        path: PathBuf,
        /// The most bytes that are read.
        limit: usize,
    },
    /// Not a manifest of format 1.
    #[error("manifest.json is not of format 1: {0}")]
    Manifest(String),
    /// A path that leaves the folder, or is of no file.
    #[error("the file of role {role} is not a plain path inside the folder")]
    Path {
        /// The file's role.
        role: String,
    },
    /// A case lacks a file, or names one of a role that is not known.
    #[error("role {role} {what}")]
    Role {
        /// The file's role.
        role: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A file or a rule is not of the form that its role asks for.
    #[error("{what} is not {wanted}")]
    Form {
        /// The role or the rule.
        what: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A file of role `profile` is not an appraisal profile.
    #[error("profile: {0}")]
    Profile(#[from] PolicyError),
}

/// How one case ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The case.
    pub id: String,
    /// `accept` or `reject`; `error` when the case could not be read.
    pub verdict: &'static str,
    /// The stage of the refusal: the expected one if a rule failed there, else that of the first rule that failed.
    pub stage: String,
    /// The code of the first rule that failed in that stage, or what was wrong with the case.
    pub code: String,
    /// The verdict that is right; `unknown` of a case that does not say so.
    pub expected: &'static str,
    /// Whether verdict, stage and code are as expected.
    pub ok: bool,
    /// How long the judgement took, in microseconds, without reading files.
    pub micros: u64,
}

impl Outcome {
    /// That of a case without a verdict.
    fn none(id: &str, expected: &'static str) -> Self {
        Self {
            id: id.to_owned(),
            verdict: "error",
            stage: String::new(),
            code: String::new(),
            expected,
            ok: false,
            micros: 0,
        }
    }
}

/// A folder of cases.
#[derive(Debug)]
pub struct Corpus {
    folder: PathBuf,
    cases: Vec<Case>,
    unread: Vec<UnreadCase>,
}

impl Corpus {
    /// Reads the manifest of a folder.
    ///
    /// # Errors
    /// [`Error`] when there is none, or it is not of format 1, or names a case twice.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Self::open_beside(&folder.join("manifest.json"), folder)
    }

    /// Reads a manifest that stands outside the folder of its files.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_beside(manifest: &Path, folder: &Path) -> Result<Self, Error> {
        let bytes = read_file(manifest, MAX_MANIFEST_BYTES)?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| Error::Manifest(error.to_string()))?;
        if manifest.format != 1 || manifest.cases.len() > MAX_CASES {
            return Err(Error::Manifest(format!(
                "format {}, {} cases",
                manifest.format,
                manifest.cases.len()
            )));
        }
        let id = |case: &'_ Result<Case, UnreadCase>| match case {
            Ok(case) => case.id.clone(),
            Err(unread) => unread.id.clone(),
        };
        let mut ids: Vec<String> = manifest.cases.iter().map(id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(Error::Manifest("a case is there twice".to_owned()));
        }
        let (mut cases, mut unread) = (Vec::new(), Vec::new());
        for case in manifest.cases {
            match case {
                Ok(case) => cases.push(case),
                Err(case) => unread.push(case),
            }
        }
        Ok(Self { folder: folder.to_owned(), cases, unread })
    }

    /// The cases that are understood, in order.
    #[must_use]
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// How the cases end that are not understood: none of them as expected.
    pub fn unread(&self) -> impl ExactSizeIterator<Item = Outcome> + '_ {
        self.unread.iter().map(|UnreadCase { id, why, expect }| Outcome {
            code: why.clone(),
            ..Outcome::none(id, expect.map_or("unknown", Expectation::name))
        })
    }

    /// What one case presents, for whoever judges it by rules of their own; the case's own rules and any profile beside
    /// it are left out. The inner error is the rule that the files break before there is any evidence.
    ///
    /// # Errors
    /// [`Error`] when a file cannot be read or is not of its role's form.
    pub fn present(&self, case: &Case) -> Result<Result<Presented, Checks>, Error> {
        platform::present(case, &Files::read(&self.folder, case)?)
    }

    /// Judges one case by its own rules: all rules that were looked at.
    ///
    /// # Errors
    /// [`Error`] when the case cannot be read.
    pub fn judge(&self, case: &Case) -> Result<Checks, Error> {
        platform::judge(case, &Files::read(&self.folder, case)?)
    }

    /// Judges one case and compares. `clock` gives microseconds since any fixed moment.
    #[must_use]
    pub fn run(&self, case: &Case, clock: impl Fn() -> u64) -> Outcome {
        let mut outcome = Outcome::none(&case.id, case.expect.name());
        let files = match Files::read(&self.folder, case) {
            Ok(files) => files,
            Err(error) => return Outcome { code: error.to_string(), ..outcome },
        };
        let start = clock();
        let judged = platform::judge(case, &files);
        outcome.micros = clock().saturating_sub(start);
        match judged {
            Err(error) => outcome.code = error.to_string(),
            Ok(checks) if checks.none_failed() => {
                outcome.verdict = "accept";
                outcome.ok = case.expect != Expectation::Reject;
            }
            Ok(checks) => {
                outcome.verdict = "reject";
                (outcome.stage, outcome.code) = name_refusal(&checks, &case.stage);
                let any_stage = case.stage.is_empty() || case.stage == "strict";
                let as_expected = (any_stage || outcome.stage == case.stage)
                    && (case.code.is_empty() || checks.failed().any(|check| check.code == case.code));
                outcome.ok = match case.expect {
                    Expectation::Accept => false,
                    Expectation::Reject => as_expected,
                    Expectation::Either => true,
                };
            }
        }
        outcome
    }
}

/// Judges one case, JSON, by its own rules, with the bytes of its files by role: for builds without a file system.
///
/// # Errors
/// [`Error`] when the case cannot be read.
pub fn judge_case(case: &str, files: BTreeMap<String, Vec<u8>>) -> Result<Checks, Error> {
    let case: Case = serde_json::from_str(case).map_err(|error| Error::Manifest(error.to_string()))?;
    if let Some(role) = files.keys().find(|role| !case.files.contains_key(*role)) {
        return Err(Error::Role { role: role.clone(), what: "is not in the case" });
    }
    if let Some((role, _)) = files.iter().find(|(_, bytes)| bytes.len() > MAX_FILE_BYTES) {
        return Err(Error::Role { role: role.clone(), what: "is over the limit of a file" });
    }
    platform::judge(&case, &Files(files))
}

/// Every failed rule is listed in a refusal, so the case holds if the stage that it names is among them.
fn name_refusal(checks: &Checks, wanted: &str) -> (String, String) {
    let in_stage = checks.failed().find(|check| stage_name(check.stage) == wanted);
    let first = in_stage.or_else(|| checks.failed().next());
    first.map_or_else(Default::default, |check| (stage_name(check.stage).to_owned(), check.code.to_string()))
}

const fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Parse => "parse",
        Stage::Signature => "signature",
        Stage::Chain => "chain",
        Stage::Identity => "identity",
        Stage::Tcb => "tcb",
        Stage::Collateral => "collateral",
        Stage::Policy => "policy",
        Stage::Binding => "binding",
        Stage::Eventlog => "eventlog",
        Stage::Rim => "rim",
    }
}

/// The files of a case by role.
#[derive(Debug)]
pub(crate) struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn read(folder: &Path, case: &Case) -> Result<Self, Error> {
        let inside = resolve(folder)?;
        let mut files = BTreeMap::new();
        for (role, path) in &case.files {
            let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
            if !plain || path.is_empty() {
                return Err(Error::Path { role: role.clone() });
            }
            let path = resolve(&folder.join(path))?;
            // A link may lead elsewhere, and a device or a pipe may have no end.
            if !path.starts_with(&inside) || !path.is_file() {
                return Err(Error::Path { role: role.clone() });
            }
            files.insert(role.clone(), read_file(&path, MAX_FILE_BYTES)?);
        }
        Ok(Self(files))
    }

    /// The bytes of a role that must be there.
    pub(crate) fn need(&self, role: &str) -> Result<&[u8], Error> {
        self.get(role).ok_or_else(|| Error::Role { role: role.to_owned(), what: "is missing" })
    }

    /// The bytes of a role that may be there.
    pub(crate) fn get(&self, role: &str) -> Option<&[u8]> {
        self.0.get(role).map(Vec::as_slice)
    }

    /// Refuses roles outside `known`: what is not read could be what matters.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Error> {
        match self.0.keys().find(|role| !known.contains(&role.as_str())) {
            Some(role) => Err(Error::Role { role: role.clone(), what: "is not known for this platform" }),
            None => Ok(()),
        }
    }
}

/// The path without links.
fn resolve(path: &Path) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(|source| Error::Io { path: path.to_owned(), source })
}

fn read_file(path: &Path, limit: usize) -> Result<Vec<u8>, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).map_err(io)?.take(most).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > limit {
        return Err(Error::TooLong { path: path.to_owned(), limit });
    }
    Ok(bytes)
}
