//! One rule with the value in force, for people and for writing files.

use std::fmt::Write as _;
use toml::Value;

/// A rule of a file, whether the file spells it out or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    path: String,
    value: Value,
    meaning: &'static str,
    weaker: Option<&'static str>,
}

impl Rule {
    pub(crate) fn new(path: impl Into<String>, value: impl Into<Value>, meaning: &'static str) -> Self {
        Self { path: path.into(), value: value.into(), meaning, weaker: None }
    }

    /// Says why the value deserves a second look, if `is` does.
    pub(crate) fn weaker_if(mut self, is: bool, why: &'static str) -> Self {
        self.weaker = is.then_some(why);
        self
    }

    /// The key's path, such as `snp.min_tcb`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value in force, as TOML.
    #[must_use]
    pub fn value(&self) -> String {
        self.value.to_string()
    }

    /// What the rule asks, in plain words.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        self.meaning
    }

    /// Why this value is weaker than the rule's default or than it could be.
    #[must_use]
    pub fn weaker(&self) -> Option<&'static str> {
        self.weaker
    }
}

/// The file that says exactly these rules: keys without a table first, then one table for each first part of a path.
pub(crate) fn to_toml(rules: &[Rule]) -> String {
    let mut out = String::new();
    let mut open = "";
    for rule in rules {
        let (table, key) = rule.path.split_once('.').unwrap_or(("", &rule.path));
        if table != open {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "\n[{table}]");
            open = table;
        }
        let _ = writeln!(out, "{key} = {}", rule.value);
    }
    out
}
