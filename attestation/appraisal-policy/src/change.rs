//! What replacing one value of a rule by another does to what is let through.
//!
//! The comparison errs to one side only: a change is called narrower only when everything that the new value lets through,
//! the old one let through too.

use std::collections::BTreeSet;
use std::fmt;
use toml::{Table, Value};

/// How a rule's value decides. See the constructors of [`Rule`](crate::Rule).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Says,
    Accepts,
    Restricts,
    Permits,
    Demands,
    AtLeast,
    AtMost,
    Bits,
    Within,
    Registers,
}

/// What a new value lets through, beside what the old one did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// The same.
    Same,
    /// Less, and nothing new.
    Narrower,
    /// Something new, and everything as before.
    Wider,
    /// Something new, and not everything as before.
    Shifted,
}

impl Change {
    /// Whether something is let through that was not before.
    #[must_use]
    pub const fn widens(self) -> bool {
        matches!(self, Self::Wider | Self::Shifted)
    }

    /// The change of a conjunction of which one part changed by `self` and another by `other`.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        of((self.widens() || other.widens(), self.narrows() || other.narrows()))
    }

    const fn narrows(self) -> bool {
        matches!(self, Self::Narrower | Self::Shifted)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "same",
            Self::Narrower => "narrowed",
            Self::Wider => "widened",
            Self::Shifted => "shifted",
        })
    }
}

/// The change for (something new, something gone).
const fn of(changed: (bool, bool)) -> Change {
    match changed {
        (false, false) => Change::Same,
        (false, true) => Change::Narrower,
        (true, false) => Change::Wider,
        (true, true) => Change::Shifted,
    }
}

/// What `new` does in place of `old`.
pub(crate) fn between(kind: Kind, old: &Value, new: &Value) -> Change {
    if old == new {
        return Change::Same;
    }
    match kind {
        Kind::Says => Change::Same,
        Kind::Accepts => of_sets(&accepted(old), &accepted(new)),
        Kind::Restricts => of_sets(&Set::Named(items(new)), &Set::Named(items(old))),
        Kind::Permits => of((truth(new) && !truth(old), truth(old) && !truth(new))),
        Kind::Demands => of((truth(old) && !truth(new), truth(new) && !truth(old))),
        Kind::AtLeast => of((!is_floor_below(old, new), !is_floor_below(new, old))),
        Kind::AtMost => of((!is_ceiling_above(old, new), !is_ceiling_above(new, old))),
        Kind::Bits => of((!has_bits(old, new), !has_bits(new, old))),
        Kind::Within => of((!is_within(new, old), !is_within(old, new))),
        Kind::Registers => of_registers(old, new),
    }
}

/// What is let through: everything, or what is named.
#[derive(Debug, PartialEq, Eq)]
enum Set {
    All,
    Named(BTreeSet<String>),
}

impl Set {
    fn is_in(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::All) => true,
            (Self::All, Self::Named(_)) => false,
            (Self::Named(a), Self::Named(b)) => a.is_subset(b),
        }
    }
}

fn of_sets(old: &Set, new: &Set) -> Change {
    of((!new.is_in(old), !old.is_in(new)))
}

fn accepted(value: &Value) -> Set {
    if value.as_str() == Some("any") { Set::All } else { Set::Named(items(value)) }
}

/// The items of a list, or one value alone; `"none"` is no item.
fn items(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Array(items) => items.iter().map(ToString::to_string).collect(),
        Value::String(word) if word == "none" => BTreeSet::new(),
        one => BTreeSet::from([one.to_string()]),
    }
}

fn truth(value: &Value) -> bool {
    value.as_bool().unwrap_or(false)
}

/// Whether everything at or above the floor `high` is at or above the floor `low`.
fn is_floor_below(low: &Value, high: &Value) -> bool {
    match (low, high) {
        (Value::String(word), _) if word == "any" => true,
        (_, Value::String(word)) if word == "any" => false,
        (Value::Table(low), Value::Table(high)) => {
            high.iter().all(|(name, floor)| low.get(name).is_some_and(|low| is_floor_below(low, floor)))
        }
        (low, high) => order(low) <= order(high),
    }
}

/// Whether everything at or below the ceiling `low` is at or below the ceiling `high`.
fn is_ceiling_above(high: &Value, low: &Value) -> bool {
    let is_open = |value: &Value| value.as_str() == Some("any");
    is_open(high) || (!is_open(low) && order(low) <= order(high))
}

/// Numbers and versions in their order: the numbers between the dots, of which letters are hexadecimal digits. A moment, whose
/// parts are all of one length, is ordered as text.
fn order(value: &Value) -> (Vec<i64>, String) {
    match value {
        Value::Integer(number) => (vec![*number], String::new()),
        Value::String(text) => {
            let parts: Result<Vec<_>, _> =
                text.split('.').map(|part| i64::from_str_radix(part, 16)).collect();
            parts.map_or_else(|_| (Vec::new(), text.clone()), |parts| (parts, String::new()))
        }
        other => (Vec::new(), other.to_string()),
    }
}

/// Whether `more` demands every bit that `fewer` demands.
fn has_bits(fewer: &Value, more: &Value) -> bool {
    let bits = |value: &Value, name: &str| value.get(name).and_then(Value::as_integer).unwrap_or(0);
    let names = fewer.as_table().into_iter().flat_map(Table::keys);
    names.into_iter().all(|name| bits(fewer, name) & !bits(more, name) == 0)
}

/// Whether everything within `inner` is within `outer`.
fn is_within(inner: &Value, outer: &Value) -> bool {
    match (inner, outer) {
        (Value::Table(inner), Value::Table(outer)) => inner.iter().all(|(name, inner)| {
            outer.get(name).is_some_and(|outer| match inner {
                Value::Integer(_) => order(inner) <= order(outer),
                list => items(list).is_subset(&items(outer)),
            })
        }),
        (inner, outer) => items(inner).is_empty() || inner == outer,
    }
}

fn of_registers(old: &Value, new: &Value) -> Change {
    let of_register = |value: &Value, name: &str| value.get(name).map_or(Set::All, accepted);
    let names: BTreeSet<&String> =
        [old, new].into_iter().filter_map(Value::as_table).flat_map(Table::keys).collect();
    names
        .into_iter()
        .map(|name| of_sets(&of_register(old, name), &of_register(new, name)))
        .fold(Change::Same, Change::and)
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
