//! The life of a worker, from its first message to its exit.

use crate::serve::serve;
use crate::{Limits, Model};
use anchorhold_ipc::{
    Confinement, Event, FromWorker, Line, LineReader, LoadModel, LoadReport, ToWorker, Work, inherited,
};
use rustix::net::Shutdown;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::thread;

/// Where the keeper leaves the control line: standard input, one of the descriptors that a child gets without a word.
const CONTROL_DESCRIPTOR: RawFd = 0;
/// Where the keeper leaves the data line: standard output. Nothing here prints.
const DATA_DESCRIPTOR: RawFd = 1;

/// The two lines of a worker.
#[derive(Debug)]
pub struct Sockets {
    control: Line<FromWorker, ToWorker>,
    data: Line<Event, Work>,
    /// The data line once more, so that another thread can end it.
    hang_up: OwnedFd,
}

impl Sockets {
    /// The lines over these sockets.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new(control: OwnedFd, data: OwnedFd) -> io::Result<Self> {
        let hang_up = data.try_clone()?;
        Ok(Self { control: Line::new(control), data: Line::new(data), hang_up })
    }

    /// The lines that the keeper left open: control as standard input, data as
    /// standard output.
    ///
    /// # Errors
    /// There are none.
    pub fn take_inherited() -> io::Result<Self> {
        Self::new(inherited(CONTROL_DESCRIPTOR)?, inherited(DATA_DESCRIPTOR)?)
    }
}

/// Why a model was not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadFailure {
    /// Stable code of the stage that refused.
    pub code: String,
    /// What was wanted and observed, without content.
    pub detail: String,
}

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The lease ended, or the keeper or the gateway is gone.
    Ended,
    /// The package was refused, and the keeper was told.
    LoadFailed,
}

impl Exit {
    /// The exit status of the process.
    #[must_use]
    pub const fn status(self) -> u8 {
        match self {
            Self::Ended => 0,
            Self::LoadFailed => 1,
        }
    }
}

/// Lives: says what holds the process, waits for [`ToWorker::Load`], loads with `load`, has `settle` take what only the start needed when
/// every thread is there, tells the keeper that with the model, and serves until the keeper sends anything else or either line ends. The
/// model is dropped when this returns.
///
/// A wipe during the load takes effect when the load returns; a wipe while serving, at the end of the step under way.
///
/// # Errors
/// The system gives no thread, or `settle` has failed.
pub fn run(
    sockets: Sockets,
    held: (Confinement, impl FnOnce() -> io::Result<Confinement>),
    limits: Limits,
    load: impl FnOnce(LoadModel, Vec<OwnedFd>) -> Result<(Model, LoadReport), LoadFailure>,
) -> io::Result<Exit> {
    let (confinement, settle) = held;
    let Sockets { control, data, hang_up } = sockets;
    let (mut to_keeper, mut from_keeper) = control.split();
    if to_keeper.send(&FromWorker::Confined(confinement), &[]).is_err() {
        return Ok(Exit::Ended);
    }
    let Ok((ToWorker::Load(order), descriptors)) = from_keeper.receive() else { return Ok(Exit::Ended) };
    let hang_up = Arc::new(hang_up);
    let ending = Arc::clone(&hang_up);
    thread::Builder::new().spawn(move || end_with(from_keeper, &ending))?;
    let mut limits = limits;
    limits.generation.keep_prefixes &= order.keep_prefixes;
    match load(*order, descriptors) {
        Ok((model, report)) => {
            let settle = || {
                let settled = settle();
                let told =
                    settled.map(|serving| to_keeper.send(&FromWorker::Loaded { report, serving }, &[]));
                if !matches!(told, Ok(Ok(()))) {
                    // The threads that wait for requests would wait on.
                    hang(&hang_up);
                }
                told.map(drop)
            };
            serve(model, data, limits, settle).map(|()| Exit::Ended)
        }
        Err(LoadFailure { code, detail }) => {
            // A keeper that is gone learns nothing, and needs nothing.
            let _ = to_keeper.send(&FromWorker::LoadFailed { code, detail }, &[]);
            data.split().0.shut_down();
            Ok(Exit::LoadFailed)
        }
    }
}

/// Ends the data line, and with it the serving, on the keeper's next word or when its line ends: after the order to
/// load, a wipe is all that a keeper has to say.
fn end_with(mut from_keeper: LineReader<ToWorker>, data: &OwnedFd) {
    let _ = from_keeper.receive();
    hang(data);
}

fn hang(data: &OwnedFd) {
    // A line that is already closed answers an error, and is closed all the same.
    let _ = rustix::net::shutdown(data, Shutdown::Both);
}
