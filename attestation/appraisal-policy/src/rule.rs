//! One rule with the value in force, for people, for writing files, and for comparing two files.

use crate::change::{self, Change, Kind};
use std::fmt::Write as _;
use toml::Value;

/// A rule of a file, whether the file spells it out or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    kind: Kind,
    path: String,
    value: Value,
    meaning: &'static str,
    weaker: Option<&'static str>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident = $kind:ident;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(path: impl Into<String>, value: impl Into<Value>, meaning: &'static str) -> Self {
            Self { kind: Kind::$kind, path: path.into(), value: value.into(), meaning, weaker: None }
        })*
    };
}

impl Rule {
    constructors! {
        /// A text for people: it lets nothing through and holds nothing back.
        says = Says;
        /// A value, a list of values or a word for a bit that is accepted; `"any"` accepts all, `"none"` none.
        accepts = Accepts;
        /// A list that refuses or asks for more with each item; `"none"` is empty.
        restricts = Restricts;
        /// A truth that lets more through.
        permits = Permits;
        /// A truth that lets less through.
        demands = Demands;
        /// A lowest number, version, or table of numbers, where what the table does not name is refused; `"any"` asks
        /// nothing.
        at_least = AtLeast;
        /// A highest number or last moment; `"any"` asks nothing.
        at_most = AtMost;
        /// A table of numbers whose bits are demanded.
        bits = Bits;
        /// `"none"`, or a table of what is let through: lists of what is accepted, and highest numbers.
        within = Within;
        /// A table of accepted values, each for one register; a register that is not named is not asked.
        registers = Registers;
    }

    /// Says why the value deserves a second look, if `is` does.
    #[must_use]
    pub fn weaker_if(mut self, is: bool, why: &'static str) -> Self {
        self.weaker = is.then_some(why);
        self
    }

    /// The same rule in another place.
    #[must_use]
    pub fn at(self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self }
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

    /// What it does to what is let through when this rule takes the place of `old`, which is the same rule of an older
    /// file.
    #[must_use]
    pub fn change_from(&self, old: &Self) -> Change {
        change::between(self.kind, &old.value, &self.value)
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
