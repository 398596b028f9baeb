//! Stands in until `anchorhold-rats` has it.
#![allow(missing_docs, reason = "goes away")]

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kem {
    X25519,
    XWing,
}

impl Kem {
    pub const ALL: [Self; 2] = [Self::XWing, Self::X25519];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X25519 => "x25519",
            Self::XWing => "x-wing",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kem| kem.name() == name)
    }
}

impl std::fmt::Display for Kem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
