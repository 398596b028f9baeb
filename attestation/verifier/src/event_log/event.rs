//! Events, and the registers that they add up to.

use super::{EventKind, proof};
use std::fmt;

/// A run-time measurement register of a TD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rtmr {
    /// RTMR0: firmware configuration.
    Rtmr0,
    /// RTMR1: boot loader and kernel.
    Rtmr1,
    /// RTMR2: what the boot loader did, command line, initial file system.
    Rtmr2,
    /// RTMR3: the running system.
    Rtmr3,
}

impl Rtmr {
    /// All four, in order.
    pub const ALL: [Self; 4] = [Self::Rtmr0, Self::Rtmr1, Self::Rtmr2, Self::Rtmr3];

    /// The value of this register among all four.
    #[must_use]
    pub const fn of(self, registers: &[[u8; 48]; 4]) -> &[u8; 48] {
        let [first, second, third, fourth] = registers;
        match self {
            Self::Rtmr0 => first,
            Self::Rtmr1 => second,
            Self::Rtmr2 => third,
            Self::Rtmr3 => fourth,
        }
    }

    const fn of_mut(self, registers: &mut [[u8; 48]; 4]) -> &mut [u8; 48] {
        let [first, second, third, fourth] = registers;
        match self {
            Self::Rtmr0 => first,
            Self::Rtmr1 => second,
            Self::Rtmr2 => third,
            Self::Rtmr3 => fourth,
        }
    }
}

impl fmt::Display for Rtmr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RTMR{}", *self as u8)
    }
}

/// The data of an event, as far as its digest vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventData<'a> {
    /// Exactly the bytes over which the event's digest was computed. They may be a part of what the log holds: a boot
    /// loader's prefix, the name of a boot variable or a trailing NUL is often not measured.
    Proved(&'a [u8]),
    /// The digest is of something that is not in the log, such as a program. What the log says beside it can be
    /// anything, so it is not given out.
    Unproved {
        /// How much there is, in bytes.
        length: usize,
    },
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    register: Rtmr,
    kind: EventKind,
    digest: [u8; 48],
    proved: Option<Vec<u8>>,
    data_length: usize,
    place: Option<(usize, usize)>,
}

impl Event {
    /// An event whose data is kept as far as the digest is its own; `place` is offset and length in the log.
    pub(super) fn new(
        register: Rtmr,
        kind: EventKind,
        digest: [u8; 48],
        data: &[u8],
        place: Option<(usize, usize)>,
    ) -> Self {
        let proved = proof::measured(kind, &digest, data).map(<[u8]>::to_vec);
        Self { register, kind, digest, proved, data_length: data.len(), place }
    }

    /// The register that it extends.
    #[must_use]
    pub const fn register(&self) -> Rtmr {
        self.register
    }

    /// The type that the log gives it. No digest covers it: a log can call a measurement anything.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        self.kind
    }

    /// The SHA-384 digest that the register was extended with.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 48] {
        &self.digest
    }

    /// Its data, where the digest proves it.
    #[must_use]
    pub fn data(&self) -> EventData<'_> {
        match &self.proved {
            Some(bytes) => EventData::Proved(bytes),
            None => EventData::Unproved { length: self.data_length },
        }
    }

    /// Offset and length of its record in a binary log.
    #[must_use]
    pub const fn place(&self) -> Option<(usize, usize)> {
        self.place
    }
}

/// A log that was read, with the registers that it gives.
///
/// Authentic only as far as these registers equal those of an authentic quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    rtmrs: [[u8; 48]; 4],
    events: Vec<Event>,
}

impl Replayed {
    /// Extends registers that start at zero with each event in order.
    pub(super) fn of(events: Vec<Event>) -> Self {
        let mut rtmrs = [[0; 48]; 4];
        for event in &events {
            let register = event.register.of_mut(&mut rtmrs);
            *register = proof::sha384(&[register, &event.digest]);
        }
        Self { rtmrs, events }
    }

    /// RTMR0 to RTMR3 after the last event.
    #[must_use]
    pub const fn rtmrs(&self) -> &[[u8; 48]; 4] {
        &self.rtmrs
    }

    /// Every event that was extended, in order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}
