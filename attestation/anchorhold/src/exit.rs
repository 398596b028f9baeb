//! How the program ends: the exit codes, and the text on stderr.

use anchorhold_channel::Verdict;
use std::fmt;
use std::process::ExitCode;

/// The exit codes, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done; for a verification: accepted
  1  something else went wrong, for instance the server cannot be reached
  2  the command line was not understood
  3  not authentic: not shown to be genuine, fresh evidence of whoever answered
  4  not acceptable: authentic, and the policy does not accept it
  5  endorsements unavailable: a revocation list is missing, stale, or names a certificate
  6  inclusion or consistency of the audit log not proven
  7  the new policy allows something that the old one did not
  8  decisions of the past would have ended otherwise under the policy";

/// An exit code. See [`HELP`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Ok = 0,
    Other = 1,
    Usage = 2,
    NotAuthentic = 3,
    NotAcceptable = 4,
    EndorsementsUnavailable = 5,
    NotProven = 6,
    Widened = 7,
    Otherwise = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Accepted => Self::Ok,
            Verdict::NotAuthentic => Self::NotAuthentic,
            Verdict::NotAcceptable => Self::NotAcceptable,
            Verdict::EndorsementsUnavailable => Self::EndorsementsUnavailable,
        }
    }
}

/// A command that did not do what it was asked, with what the user may do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    exit: Exit,
    text: String,
    hint: Option<&'static str>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl fmt::Display) -> Self {
        Self { exit, text: text.to_string(), hint: None }
    }

    /// Exit code 1.
    pub(crate) fn other(text: impl fmt::Display) -> Self {
        Self::new(Exit::Other, text)
    }

    /// Exit code 2.
    pub(crate) fn usage(text: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, text)
    }

    pub(crate) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "anchorhold: error: {}", self.text)?;
        self.hint.map_or(Ok(()), |hint| writeln!(f, "hint: {hint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented_and_means_one_thing() {
        let codes = [
            Exit::Ok,
            Exit::Other,
            Exit::Usage,
            Exit::NotAuthentic,
            Exit::NotAcceptable,
            Exit::EndorsementsUnavailable,
            Exit::NotProven,
            Exit::Widened,
            Exit::Otherwise,
        ];
        for (number, code) in (0_u8..).zip(codes) {
            assert_eq!(code as u8, number);
            assert!(HELP.contains(&format!("\n  {number}  ")), "{number}");
        }
    }

    #[test]
    fn a_failure_reads_as_error_and_hint() {
        let failure = Failure::other("no such thing").hint("make one");
        assert_eq!(failure.to_string(), "anchorhold: error: no such thing\nhint: make one\n");
    }
}
