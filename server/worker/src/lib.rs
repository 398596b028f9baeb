//! One model, answering requests that come over one line, held by another.
//!
//! ```text
//! keeper ──Load, Wipe──▶ [control]                        ┌─▶ intake thread: text to tokens ─┐ commands
//!                         worker        gateway ──Work──▶ │                                  ▼
//! keeper ◀──Confined, Loaded──          gateway ◀─Event── └── events thread ◀── steps (scheduler, model)
//! ```
//!
//! [`run`] is the whole life of a worker: say what holds it, load what the keeper hands over, serve until either line
//! ends. Every way out drops the model. The worker opens nothing, listens to nothing and logs nothing: it has the
//! descriptors it was given, memory and threads.
//!
//! Promised: text leaves in whole characters, and no character of a stop text ever leaves; a cancelled request is
//! freed before the next step; every queue is bounded, and who does not fit is told [`RequestError::Overloaded`].
//!
//! [`RequestError::Overloaded`]: anchorhold_ipc::RequestError::Overloaded

mod clock;
mod desk;
mod embed;
mod forms;
mod generate;
mod intake;
mod life;
mod load;
mod marks;
mod model;
mod package;
mod panics;
mod reports;
mod serve;
mod text;
mod tokenize;

pub use life::{Exit, LoadFailure, Sockets, run};
pub use load::{load_sealed, load_sealed_with};
pub use model::{Calls, Compute, Decoder, Language, LanguageError, Model};
pub use panics::quiet_panics;
pub use serve::Limits;
