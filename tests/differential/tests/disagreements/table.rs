//! Every disagreement, with who is right and why.

use crate::peers::{Peer, Verdict};
use std::collections::BTreeMap;
use std::fmt::Write as _;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    Ours,
    Theirs,
    /// Neither is wrong: they do not promise the same.
    Scope,
}

/// What ours says, by reason code, where a peer says otherwise.
pub(crate) struct Row {
    pub(crate) peer: Peer,
    /// `accept`, or the reason code of the refusal.
    pub(crate) ours: &'static str,
    pub(crate) right: Right,
    pub(crate) why: &'static str,
    /// Only on real samples.
    pub(crate) real: bool,
}

pub(crate) const TABLE: &[Row] = &[];

/// Disagreements by peer and what ours says: the cases, and what the peer said of the first.
#[derive(Debug, Default)]
pub(crate) struct Disagreements {
    found: BTreeMap<(Peer, String), Vec<(String, Verdict)>>,
    /// How many times two verdicts were compared.
    pub(crate) compared: usize,
    /// Cases that only a rule of ours for the caller's policy refuses.
    pub(crate) policy_only: usize,
}

impl Disagreements {
    pub(crate) fn compare(&mut self, peer: Peer, ours: &str, theirs: &Verdict, case: &str) {
        self.compared += 1;
        let agree = match theirs {
            Verdict::Accept => ours == "accept",
            Verdict::Refuse(_) => ours != "accept",
            Verdict::Panic => false,
        };
        if !agree {
            let cases = self.found.entry((peer, ours.to_owned())).or_default();
            cases.push((case.to_owned(), theirs.clone()));
        }
    }

    pub(crate) fn shows(&self, row: &Row) -> bool {
        self.found.contains_key(&(row.peer, row.ours.to_owned()))
    }

    /// What is not in the table, one line each.
    pub(crate) fn unlisted(&self) -> Vec<String> {
        self.found
            .iter()
            .filter(|((peer, ours), _)| !TABLE.iter().any(|row| row.peer == *peer && row.ours == ours))
            .map(|((peer, ours), cases)| format!("{} {ours}: {cases:?}", peer.name()))
            .collect()
    }

    /// The table as a document, with the cases of the suite.
    pub(crate) fn document(&self) -> String {
        let mut text = String::new();
        let mut line = |line: String| writeln!(text, "{line}").unwrap();
        line(HEAD.to_owned());
        line(format!(
            "Compared: {} cases of `tests/vectors/rejection`. Not compared: {} that only a rule of the relying party's \
             policy refuses, which neither peer takes.\n",
            self.compared, self.policy_only
        ));
        line("| Peer | Ours | Peer says | Right | Why | Cases |".to_owned());
        line("|---|---|---|---|---|---|".to_owned());
        for row in TABLE {
            let found = self.found.get(&(row.peer, row.ours.to_owned())).filter(|_| !row.real);
            let cases = found.map_or_else(
                || "real samples".to_owned(),
                |cases| cases.iter().map(|(case, _)| case.as_str()).collect::<Vec<_>>().join(", "),
            );
            let says = match found.and_then(|cases| cases.first()) {
                Some((_, Verdict::Panic)) => "panics",
                _ if row.ours == "accept" => "refuses",
                _ => "accepts",
            };
            let right = match row.right {
                Right::Ours => "ours",
                Right::Theirs => "theirs",
                Right::Scope => "neither is wrong",
            };
            line(format!(
                "| {} | `{}` | {says} | {right} | {} | {cases} |",
                row.peer.name(),
                row.ours,
                row.why
            ));
        }
        text
    }
}

const HEAD: &str = "# Disagreements

Where our verifier and another one do not agree about the same evidence. Written by
`WRITE=1 cargo test --release -p anchorhold-differential --test disagreements`; the same test fails on a disagreement that
is not listed, and on a row that no longer holds. *Ours* is the reason code with which we refuse, or `accept`.
";
