//! The second stage of key release: Cedar policies that can deny what a grant allows.
//!
//! A release policy may name Cedar policies by their digest. When a grant has passed, they are asked about the claims that
//! the log keeps of the decision. The stage knows two answers: nothing to say, and denied. A grant is no argument of
//! [`Stage::judge`] and no result, so the stage cannot make one.
//!
//! The stage denies when no `permit` holds, when a `forbid` holds, and when anything goes wrong: Cedar itself skips a policy whose
//! evaluation fails, which would take a `forbid` out of force, so here a failure is a denial. Policies are held to the schema in
//! [`SCHEMA`] when they are read, so that a misspelled attribute is found before they come into force.
//!
//! Cedar has no loops and no recursion; what an evaluation costs is bounded by the length of the policies, and that by
//! [`MAX_CEDAR_BYTES`].
//!
//! ```
//! use anchorhold_release_cedar::Stage;
//!
//! let stage = Stage::read(
//!     "permit(principal, action, resource);
//!      forbid(principal, action, resource) when { principal.simulated };",
//! )?;
//! assert!(Stage::read("permit(principal, action, resource) when { principal.colour == \"red\" };").is_err());
//! # let _ = stage;
//! # Ok::<(), anchorhold_release_cedar::CedarError>(())
//! ```

mod entities;

use anchorhold_audit_log::claims::Claims;
use anchorhold_rats::{Check, Checks, Sha256Digest, Stage as CheckStage, Timestamp};
use cedar_policy::{Authorizer, Decision, PolicySet, Response, Schema, ValidationMode, Validator};
use std::fmt;

/// What policies may speak of.
pub const SCHEMA: &str = include_str!("release.cedarschema");
/// The longest text of Cedar policies, in bytes.
pub const MAX_CEDAR_BYTES: usize = 64 * 1024;
/// The most policies in one text.
pub const MAX_POLICIES: usize = 256;
/// The deepest nesting of brackets in a text. Cedar's parser and evaluator go as deep as the text does.
pub const MAX_NESTING: usize = 32;
/// The longest word of the parser that an error quotes.
const MAX_SAID_BYTES: usize = 200;

/// Why a text is no stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CedarError {
    /// Over a limit.
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Not Cedar.
    Malformed(String),
    /// A template, which nothing here fills in.
    Template,
    /// Without a `permit`, everything would be denied.
    NoPermit,
    /// It speaks of what the schema does not have, or in another type.
    Schema(String),
}

impl fmt::Display for CedarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMuch { what, limit } => write!(f, "Cedar policies: more than {limit} {what}"),
            Self::Malformed(why) => write!(f, "not Cedar policies: {why}"),
            Self::Template => f.write_str("Cedar policies: templates are not filled in here"),
            Self::NoPermit => f.write_str("Cedar policies without a permit deny everything"),
            Self::Schema(why) => write!(f, "Cedar policies beside the schema: {why}"),
        }
    }
}

impl std::error::Error for CedarError {}

/// What was decided by a grant, as far as Cedar policies can speak of it.
#[derive(Debug, Clone, Copy)]
pub struct Granted<'a> {
    /// The grant.
    pub grant: &'a str,
    /// The model that would be released, its version and the name of its key.
    pub model: (&'a str, u64, &'a str),
    /// SHA-256 of its manifest.
    pub manifest: &'a Sha256Digest,
    /// What the decision was about; `None` where that could not be told, which is a denial.
    pub claims: Option<&'a Claims>,
    /// When.
    pub at: Timestamp,
}

/// Cedar policies that were read and hold to the schema.
pub struct Stage {
    policies: PolicySet,
    schema: Schema,
    digest: Sha256Digest,
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stage({})", self.digest)
    }
}

impl Stage {
    /// Reads Cedar policies and holds them to the schema.
    ///
    /// # Errors
    /// [`CedarError`].
    ///
    /// # Panics
    /// Never: the schema is part of this program.
    pub fn read(text: &str) -> Result<Self, CedarError> {
        let limits = [
            (text.len() > MAX_CEDAR_BYTES, "bytes", MAX_CEDAR_BYTES),
            (nesting(text) > MAX_NESTING, "brackets open at once", MAX_NESTING),
        ];
        if let Some((_, what, limit)) = limits.into_iter().find(|(over, ..)| *over) {
            return Err(CedarError::TooMuch { what, limit });
        }
        let policies: PolicySet =
            text.parse().map_err(|error: cedar_policy::ParseErrors| CedarError::Malformed(said(&error)))?;
        if policies.num_of_templates() > 0 {
            return Err(CedarError::Template);
        }
        if policies.num_of_policies() > MAX_POLICIES {
            return Err(CedarError::TooMuch { what: "policies", limit: MAX_POLICIES });
        }
        if !policies.policies().any(|policy| policy.effect() == cedar_policy::Effect::Permit) {
            return Err(CedarError::NoPermit);
        }
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).expect("the schema is part of this program");
        let validated = Validator::new(schema.clone()).validate(&policies, ValidationMode::Strict);
        if let Some(error) = validated.validation_errors().next() {
            return Err(CedarError::Schema(said(error)));
        }
        Ok(Self { policies, schema, digest: Sha256Digest::of(text.as_bytes()) })
    }

    /// SHA-256 of the text, as a release policy names it.
    #[must_use]
    pub const fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// What the policies say to a decision that a grant has passed: one rule, which passes or fails.
    #[must_use]
    pub fn judge(&self, granted: &Granted<'_>) -> Checks {
        let mut checks = Checks::new();
        let (passed, observed) = match self.response(granted) {
            Ok(response) => verdict(&response),
            Err(why) => (false, format!("not evaluated: {why}")),
        };
        checks.record(RULE, passed, "no denial by the Cedar policies", observed);
        checks
    }

    fn response(&self, granted: &Granted<'_>) -> Result<Response, String> {
        let (request, entities) = entities::of(granted, &self.schema)?;
        Ok(Authorizer::new().is_authorized(&request, &self.policies, &entities))
    }
}

/// The stage's rule in traces and logs.
const RULE: (CheckStage, &str) = (CheckStage::Policy, "release_cedar");

/// Whether this is the rule of the stage.
#[must_use]
pub fn is_of_stage(check: &Check) -> bool {
    check.code == RULE.1
}

/// Allowed, and nothing failed on the way.
fn verdict(response: &Response) -> (bool, String) {
    let diagnostics = response.diagnostics();
    if let Some(error) = diagnostics.errors().next() {
        return (false, format!("not evaluated: {}", said(error)));
    }
    if response.decision() == Decision::Allow {
        return (true, "permitted".to_owned());
    }
    let reasons: Vec<String> = diagnostics.reason().map(ToString::to_string).collect();
    let observed = if reasons.is_empty() {
        "no permit".to_owned()
    } else {
        format!("forbidden by {}", reasons.join(", "))
    };
    (false, observed)
}

/// What a library says, short and in one line.
fn said(error: &dyn fmt::Display) -> String {
    let text = error.to_string().replace(char::is_control, " ");
    let end =
        text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= MAX_SAID_BYTES).last();
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

/// How many brackets are open at most. Those in strings and comments count too, which errs on the strict side.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
