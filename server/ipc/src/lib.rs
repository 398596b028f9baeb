//! What crosses the lines between the processes of the guest, and nothing else.
//!
//! ```text
//! keeper ──ToWorker──▶ worker      keeper ──ToGateway──▶ gateway      gateway ──Work──▶ worker
//! keeper ◀─FromWorker─ worker      keeper ◀─FromGateway─ gateway      gateway ◀─Event── worker
//! keeper ──ToFetcher──▶ fetcher
//! keeper ◀─FromFetcher─ fetcher    keeper ◀─FromCollector─ collector
//! keeper ──ToGpuAttester──▶ GPU attester
//! keeper ◀─FromGpuAttester─ GPU attester
//! ```
//!
//! Each line is one socket pair that the keeper made. A [`Line`] sends and receives whole messages of one
//! closed list, each in a frame of at most [`MAX_FRAME_BYTES`], with at most [`MAX_DESCRIPTORS`] descriptors.
//! A peer that breaks the framing is cut off: there is no resynchronisation.
//!
//! This crate decides nothing and logs nothing.

mod fetcher;
mod gateway;
mod gpus;
mod kernel;
mod line;
mod reason;
mod standing;
mod work;
mod worker;

// The words inside the messages, for the process that builds them and needs nothing else of the engine.
pub use anchorhold_engine::{
    CacheDomain, CallName, Calling, ChatMessage, Conversation, FinishReason, Load, MAX_CHOICES, MAX_LOGPROBS,
    ModelKind, MustCall, Precision, Prompt, RequestId, Sampling, Shorter, StopRules, Structure, Tenancy,
    TokenField, TokenId, Tool, ToolCall,
};
pub use fetcher::{FetchPackage, FetchReport, FromFetcher, StoreAccess, StoreIdentity, ToFetcher};
pub use gateway::{
    Appended, AuditEvent, CallerAuth, CallerPart, FromGateway, GuestCard, HeldProcess, LogFile, LogPart,
    RefusedCaller, RequestOutcome, RequestRecord, Route, ServingEvidence, ToGateway,
};
pub use gpus::{FromGpuAttester, GpuReport, MAX_GPU_REPORTS, ToGpuAttester};
pub use kernel::{
    FromCollector, KernelEvent, KernelReport, MandatoryPolicy, PolicyDenial, ToCollector, WhyLost,
};
pub use line::{
    GATEWAY_LINE, KEEPER_LINE, Line, LineError, LineReader, LineWriter, MAX_DESCRIPTORS, MAX_FRAME_BYTES,
    inherited, pair,
};
pub use reason::Reason;
pub use standing::{LogCondition, LogStanding};
pub use work::{
    CallPart, Event, RejectReason, RequestError, Specials, SpelledToken, StructureFault, ToldToken,
    ToolFault, Work, WorkKind,
};
pub use worker::{
    Confinement, FromWorker, LoadModel, LoadReport, ModelInfo, ObjectDescriptors, ToWorker, WireSecret,
    WireText,
};
