//! How the audit log stands, as the keeper tells the gateway and the gateway its operators.

use serde::{Deserialize, Serialize};

/// How the audit log stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStanding {
    /// In one word.
    pub state: LogCondition,
    /// How many entries enough witnesses have cosigned; `None` for a log without witnesses.
    pub cosigned: Option<u64>,
    /// For how long the oldest entry that they have not has waited, in milliseconds.
    pub waited_ms: u64,
}

/// What follows from how the log stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogCondition {
    /// Entries are durable, and cosigned in time where there are witnesses.
    #[default]
    Well,
    /// Too few witnesses cosigned for a while.
    Late,
    /// For so long that nothing new may be taken; what runs goes on.
    Held,
    /// Its medium failed: it takes nothing more until the next boot.
    Failed,
}

impl LogCondition {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Well, Self::Late, Self::Held, Self::Failed];

    /// The name in metrics and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Late => "late",
            Self::Held => "held",
            Self::Failed => "failed",
        }
    }

    /// Whether new requests may be taken.
    #[must_use]
    pub const fn allows_new(self) -> bool {
        matches!(self, Self::Well | Self::Late)
    }
}
