//! The chain of boots: which log of its deployment came before a log.
//!
//! A host that sets a guest's disk back, or keeps a boot's log to itself, cannot take back what the key broker has seen of that log. So the
//! broker tells each boot which log of the same deployment it registered last, and how far it had cosigned it. The boot writes that down
//! before it serves, and who has the later log knows of the earlier one.

use crate::entry::{Entry, Event, LogState, Stamp};
use crate::event::{EventType, Outcome};
use crate::{Code, Hash, Origin};
use serde::{Deserialize, Serialize};

const CLOSED: &str = "closed";
const OPEN: &str = "open";
const NONE_KNOWN: &str = "none_known";
const NOT_TOLD: &str = "not_told";

/// The log that a broker registered before another of the same deployment, as far as it has cosigned it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predecessor {
    /// Whether it had signed its last checkpoint. One that had not may have gone on: replicas run side by side.
    pub closed: bool,
    /// Its name.
    pub origin: Origin,
    /// The root hash of its first `size` entries.
    pub root: Hash,
    /// How many of its entries were cosigned; 0 where it was never brought to be.
    pub size: u64,
}

/// What a log says of the log before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follows {
    /// The broker knows of none.
    Nothing,
    /// Whoever released the key does not say: a broker of before there was a chain, or one of another kind.
    NotTold,
    /// This one.
    Log(Predecessor),
}

impl Follows {
    /// The entry that tells it.
    #[must_use]
    pub fn event(&self, at: Stamp) -> Event {
        let mut event = Event::new(EventType::LogPredecessor, Outcome::Success, at);
        event.code = Code::from_static(match self {
            Self::Nothing => NONE_KNOWN,
            Self::NotTold => NOT_TOLD,
            Self::Log(Predecessor { closed: true, .. }) => CLOSED,
            Self::Log(_) => OPEN,
        });
        if let Self::Log(Predecessor { origin, root, size, .. }) = self {
            event.log =
                Some(LogState { root: Some(*root), size: Some(*size), ..LogState::of(origin.clone()) });
        }
        event
    }

    /// What the entry tells; `None` for one of another kind, or that says it by halves.
    #[must_use]
    pub fn of_entry(entry: &Entry) -> Option<Self> {
        if entry.kind != EventType::LogPredecessor {
            return None;
        }
        match (entry.code.as_str(), &entry.log) {
            (NONE_KNOWN, None) => Some(Self::Nothing),
            (NOT_TOLD, None) => Some(Self::NotTold),
            (code @ (CLOSED | OPEN), Some(state)) => Some(Self::Log(Predecessor {
                closed: code == CLOSED,
                origin: state.origin.clone(),
                root: state.root?,
                size: state.size?,
            })),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Slot;
    use crate::{BootId, Ulid};

    fn entry(event: Event) -> Entry {
        Entry::assign(event, Slot { seq: 3, boot: BootId::new([1; 16]), id: Ulid::from_parts(1, [0; 10]) })
    }

    #[test]
    fn an_entry_tells_what_it_was_made_of() {
        let at = Stamp { wall_ns: 1, mono_ns: 1 };
        let origin = Origin::new("acme/1").unwrap();
        let told = |closed| Predecessor { closed, origin: origin.clone(), root: Hash::new([3; 32]), size: 7 };
        for follows in
            [Follows::Nothing, Follows::NotTold, Follows::Log(told(true)), Follows::Log(told(false))]
        {
            let entry = entry(follows.event(at));
            let read = Entry::from_bytes(&entry.to_bytes().unwrap()).unwrap();
            assert_eq!(Follows::of_entry(&read), Some(follows));
        }
    }

    #[test]
    fn an_entry_that_says_it_by_halves_tells_nothing() {
        let at = Stamp { wall_ns: 1, mono_ns: 1 };
        let mut event = Follows::Nothing.event(at);
        event.log = Some(LogState::of(Origin::new("acme/1").unwrap()));
        assert_eq!(Follows::of_entry(&entry(event.clone())), None, "a log, and the word that there is none");
        event.code = Code::from_static(OPEN);
        assert_eq!(Follows::of_entry(&entry(event.clone())), None, "no size and no root hash");
        event.code = Code::from_static("perhaps");
        assert_eq!(Follows::of_entry(&entry(event)), None);
        assert_eq!(Follows::of_entry(&entry(Event::new(EventType::LogOpen, Outcome::Success, at))), None);
    }
}
