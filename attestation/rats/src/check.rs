//! What a verifier looked at, one line per rule, so that a person can see wanted beside observed.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Where in the verification a rule belongs; a refusal is named by the stage that found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The bytes have the documented shape.
    Parse,
    /// The report's signature.
    Signature,
    /// The certificate chain up to a trust anchor.
    Chain,
    /// The report and its certificate speak of the same chip and product.
    Identity,
    /// Firmware versions.
    Tcb,
    /// Revocation lists and other signed side input.
    Collateral,
    /// The appraisal policy.
    Policy,
    /// The report data against the key binding.
    Binding,
    /// The measured-boot event log.
    Eventlog,
    /// A device's reference values.
    Rim,
}

/// A rule by its stable name, with where in the evidence it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// Where the rule belongs.
    pub stage: Stage,
    /// Stable reason code, such as `snp_debug_allowed`; codes are only ever added.
    pub name: &'static str,
    /// The part of the evidence, the offset and the length in bytes of what is judged, where it is one place.
    pub source: Option<(&'static str, usize, usize)>,
}

impl Code {
    /// A rule that judges no single place of the evidence.
    #[must_use]
    pub const fn new(stage: Stage, name: &'static str) -> Self {
        Self { stage, name, source: None }
    }

    /// The same rule, judging `length` bytes at `offset` of `part`.
    #[must_use]
    pub const fn at(self, part: &'static str, offset: usize, length: usize) -> Self {
        Self { source: Some((part, offset, length)), ..self }
    }
}

impl From<(Stage, &'static str)> for Code {
    fn from((stage, name): (Stage, &'static str)) -> Self {
        Self::new(stage, name)
    }
}

/// The bytes of the evidence that a rule judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Which part, such as `report`, `quote` or `leaf certificate`.
    pub part: Cow<'static, str>,
    /// Offset in that part, in bytes.
    pub offset: usize,
    /// Length in bytes.
    pub length: usize,
}

/// How one rule ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The observed value is what was wanted.
    Passed,
    /// It is not; the evidence is refused.
    Failed,
    /// The rule did not apply or could not be reached; `observed` says why.
    Skipped,
}

/// One rule, with what it wanted and what it saw. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Stable reason code, such as `snp_debug_allowed`; codes are only ever added.
    pub code: Cow<'static, str>,
    /// Where the rule belongs.
    pub stage: Stage,
    /// How it ended.
    pub outcome: Outcome,
    /// What the rule asked for.
    pub wanted: String,
    /// What was there.
    pub observed: String,
    /// Where it stood, when the rule judges one place of the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The place among the GPUs and switches of the evidence, from 0, when the rule judges one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<usize>,
}

/// Every rule that was looked at, in order.
///
/// This is a report, not a verdict: holding one proves nothing, and it may be read back from JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Checks(Vec<Check>);

impl Checks {
    /// No rule yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Records a rule that wanted `wanted` and saw `observed`, and gives back `passed`.
    pub fn record(
        &mut self,
        code: impl Into<Code>,
        passed: bool,
        wanted: impl Into<String>,
        observed: impl Into<String>,
    ) -> bool {
        let outcome = if passed { Outcome::Passed } else { Outcome::Failed };
        self.push(code.into(), outcome, wanted.into(), observed.into());
        passed
    }

    /// Records a rule that does not apply, and why.
    pub fn skip(&mut self, code: impl Into<Code>, wanted: impl Into<String>, why: impl Into<String>) {
        self.push(code.into(), Outcome::Skipped, wanted.into(), why.into());
    }

    fn push(&mut self, code: Code, outcome: Outcome, wanted: String, observed: String) {
        let source = code.source.map(|(part, offset, length)| Source { part: part.into(), offset, length });
        self.0.push(Check {
            code: Cow::Borrowed(code.name),
            stage: code.stage,
            outcome,
            wanted,
            observed,
            source,
            device: None,
        });
    }

    /// Says that the last rule judged the GPU or switch at this place of the evidence, from 0.
    pub fn last_is_of_device(&mut self, place: usize) {
        if let Some(check) = self.0.last_mut() {
            check.device = Some(place);
        }
    }

    /// Adds the rules of `other` after these.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// All rules in order.
    #[must_use]
    pub fn all(&self) -> &[Check] {
        &self.0
    }

    /// The rules that failed, in order.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.0.iter().filter(|check| check.outcome == Outcome::Failed)
    }

    /// Whether no rule failed.
    #[must_use]
    pub fn none_failed(&self) -> bool {
        self.failed().next().is_none()
    }
}
