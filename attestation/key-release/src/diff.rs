//! What a new policy lets through beside an old one, grant by grant and rule by rule.
//!
//! The comparison errs to one side only: what it calls narrowed lets nothing through that the old policy did not. A grant is known
//! by its name, so a renamed one counts as one that went and one that came.

use crate::{GrantRules, ReleasePolicy};
use anchorhold_appraisal_policy::{Change, Rule};

/// A rule whose value changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedRule {
    /// The rule's path, below the grant where it is one of a grant.
    pub path: String,
    /// What the new value lets through.
    pub change: Change,
    /// The old value, as TOML; `None` where the old policy has no such rule.
    pub old: Option<String>,
    /// The new value, as TOML; `None` where the new policy has no such rule.
    pub new: Option<String>,
}

/// A grant that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedGrant {
    /// In which list of tables it is: `grant` or `resource`.
    pub table: &'static str,
    /// Its name.
    pub name: String,
    /// What it lets through.
    pub change: Change,
    /// Its rules that changed; none of a grant that came or went.
    pub rules: Vec<ChangedRule>,
}

/// Everything that differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyDiff {
    /// The rules for all grants that changed.
    pub rules: Vec<ChangedRule>,
    /// The grants that changed, came or went, in the order of the new policy and then of the old one.
    pub grants: Vec<ChangedGrant>,
}

impl PolicyDiff {
    /// Whether something is let through that was not before.
    #[must_use]
    pub fn widens(&self) -> bool {
        self.change().widens()
    }

    /// What all changes do together.
    #[must_use]
    pub fn change(&self) -> Change {
        let rules = self.rules.iter().map(|rule| rule.change);
        rules.chain(self.grants.iter().map(|grant| grant.change)).fold(Change::Same, Change::and)
    }
}

/// What `new` does in place of `old`.
#[must_use]
pub fn diff(old: &ReleasePolicy, new: &ReleasePolicy) -> PolicyDiff {
    let mut out = PolicyDiff { rules: changed_rules(&old.rules(), &new.rules()), grants: Vec::new() };
    let of = |policy: &ReleasePolicy| -> Vec<(&'static str, String, Vec<Rule>)> {
        let grants = policy.grants().iter().map(|grant| ("grant", grant.name().to_owned(), grant.rules()));
        let resources =
            policy.resources().iter().map(|grant| ("resource", grant.name().to_owned(), grant.rules()));
        grants.chain(resources).collect()
    };
    let (old, new) = (of(old), of(new));
    let named = |grants: &[(&'static str, String, Vec<Rule>)], table, name: &str| {
        grants.iter().find(|grant| grant.0 == table && grant.1 == name).map(|grant| grant.2.clone())
    };
    for (table, name, rules) in &new {
        let (change, rules) = match named(&old, *table, name) {
            Some(before) => {
                let rules = changed_rules(&before, rules);
                if rules.is_empty() {
                    continue;
                }
                (rules.iter().map(|rule| rule.change).fold(Change::Same, Change::and), rules)
            }
            None => (Change::Wider, Vec::new()),
        };
        out.grants.push(ChangedGrant { table, name: name.clone(), change, rules });
    }
    let gone = old.into_iter().filter(|(table, name, _)| named(&new, *table, name).is_none());
    out.grants.extend(gone.map(|(table, name, _)| ChangedGrant {
        table,
        name,
        change: Change::Narrower,
        rules: Vec::new(),
    }));
    out
}

/// The rules of both lists that differ. A rule of one list alone belongs to a family that the other refuses, or explains another
/// rule: what that changes, the rule about the family or the other one says.
fn changed_rules(old: &[Rule], new: &[Rule]) -> Vec<ChangedRule> {
    let find = |rules: &[Rule], path: &str| rules.iter().find(|rule| rule.path() == path).cloned();
    let mut out = Vec::new();
    for rule in new {
        let before = find(old, rule.path());
        if before.as_ref().is_some_and(|before| before.value() == rule.value()) {
            continue;
        }
        let change = before.as_ref().map_or(Change::Same, |before| rule.change_from(before));
        let (old, new) = (before.map(|before| before.value()), Some(rule.value()));
        out.push(ChangedRule { path: rule.path().to_owned(), change, old, new });
    }
    let gone = old.iter().filter(|rule| find(new, rule.path()).is_none());
    out.extend(gone.map(|rule| ChangedRule {
        path: rule.path().to_owned(),
        change: Change::Same,
        old: Some(rule.value()),
        new: None,
    }));
    out
}

/// Whether everything that `inner` lets through, `outer` lets through too, on whatever terms.
pub(crate) fn covers(outer: &GrantRules, inner: &GrantRules) -> bool {
    // How long and how often a key is given is not whether it is.
    let is_of_terms = |path: &str| matches!(path, "lease" | "max_instances");
    let changes = changed_rules(&inner.rules(), &outer.rules());
    let widest = changes.iter().filter(|rule| !is_of_terms(&rule.path)).map(|rule| rule.change);
    !matches!(widest.fold(Change::Same, Change::and), Change::Narrower | Change::Shifted)
}
