//! The measured-boot event log (CCEL) and its replay.
//!
//! A log is not signed. What makes it worth reading is that the registers which its digests add up to are in a signed
//! quote: [`read`] replays a log, [`appraise`] compares the registers and applies a policy.
//!
//! What a replay that matches establishes is the *digests* of each register in their order, no more. Type and data of an
//! event are only what the log says. Data is therefore given out only where the event's digest is that of the data,
//! see [`EventData`].
//!
//! Sources: *TCG PC Client Platform Firmware Profile* 1.06, sections 10.1 to 10.4 (records, event types);
//! *Guest-Host-Communication Interface for TDX* and UEFI 2.10, section 38.4 (registers of the CC event log).

pub mod codes;
pub mod dstack;
mod event;
mod kind;
mod log;
mod policy;
mod proof;
mod spec_id;
mod variable;

pub use event::{Event, EventData, Replayed, Rtmr};
pub use kind::EventKind;
pub use log::{MAX_EVENT_BYTES, MAX_EVENTS, MAX_LOG_BYTES, read};
pub(crate) use log::{pcr, read_records, replay};
pub(crate) use policy::judge;
pub use policy::{Content, Policy, RequiredEvent, appraise};
pub(crate) use spec_id::Bank;
pub use variable::{GLOBAL_VARIABLE, Variable};
