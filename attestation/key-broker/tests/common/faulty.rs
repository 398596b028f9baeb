//! A backend of a key-encryption key that misbehaves when it is told to.

use anchorhold_key_broker::kek::{Backend, BackendError, Context, Destroy, LocalKey, Sealed};
use anchorhold_rats::Secret;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use zeroize::Zeroizing;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nobody answers.
    Down,
    /// The credential is refused.
    Denied,
    /// It hangs until the fault is over.
    Slow,
    /// The ciphertext is of a version that is gone.
    OldVersion,
    /// It opens nothing.
    OtherKey,
    /// A well-formed secret, and not the one that was wrapped.
    OtherSecret,
    /// Bytes of another length.
    Garbage,
    /// The first half of the secret.
    Partial,
    /// Nothing at all, as if that were a secret.
    Empty,
    /// The call itself breaks.
    Panic,
}

pub(crate) const FAULTS: [Fault; 9] = [
    Fault::Down,
    Fault::Denied,
    Fault::OldVersion,
    Fault::OtherKey,
    Fault::OtherSecret,
    Fault::Garbage,
    Fault::Partial,
    Fault::Empty,
    Fault::Panic,
];

pub(crate) struct Faulty {
    key: LocalKey,
    fault: Mutex<Option<Fault>>,
    changed: Condvar,
    /// Calls that hang.
    hanging: AtomicUsize,
}

impl Faulty {
    pub(crate) fn new(byte: u8) -> Self {
        let key = LocalKey::new(&Secret::take(&mut [byte; 32]));
        Self { key, fault: Mutex::default(), changed: Condvar::new(), hanging: AtomicUsize::new(0) }
    }

    pub(crate) fn misbehave(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap() = fault;
        self.changed.notify_all();
    }

    pub(crate) fn hanging(&self) -> usize {
        self.hanging.load(Ordering::SeqCst)
    }

    /// The fault that shows now; a slow call is slow first.
    fn fault(&self) -> Option<Fault> {
        let mut fault = self.fault.lock().unwrap();
        if *fault == Some(Fault::Slow) {
            self.hanging.fetch_add(1, Ordering::SeqCst);
            while *fault == Some(Fault::Slow) {
                fault = self.changed.wait(fault).unwrap();
            }
            self.hanging.fetch_sub(1, Ordering::SeqCst);
        }
        *fault
    }
}

impl Backend for Faulty {
    fn wrap(&self, context: &Context, plain: &[u8]) -> Result<Sealed, BackendError> {
        match self.fault() {
            Some(Fault::Down) => Err(BackendError::Unreachable { what: "connection" }),
            Some(Fault::Denied) => Err(BackendError::Denied { what: "this" }),
            Some(Fault::Panic) => panic!("on purpose"),
            _ => self.key.wrap(context, plain),
        }
    }

    fn unwrap(&self, context: &Context, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let fault = self.fault();
        let plain = self.key.unwrap(context, sealed)?;
        let with = |bytes: &[u8]| Ok(Zeroizing::new(bytes.to_vec()));
        match fault {
            None | Some(Fault::Slow) => Ok(plain),
            Some(Fault::Down) => Err(BackendError::Unreachable { what: "connection" }),
            Some(Fault::Denied) => Err(BackendError::Denied { what: "this" }),
            Some(Fault::OldVersion) => Err(BackendError::Version { observed: sealed.version }),
            Some(Fault::OtherKey) => Err(BackendError::Open),
            Some(Fault::OtherSecret) => with(&[0x77; 32]),
            Some(Fault::Garbage) => with(&[0x77; 57]),
            Some(Fault::Partial) => with(&plain[..plain.len() / 2]),
            Some(Fault::Empty) => with(&[]),
            Some(Fault::Panic) => panic!("on purpose"),
        }
    }

    fn version(&self) -> Result<u32, BackendError> {
        self.key.version()
    }

    fn destroy(&self, _: Destroy) -> Result<(), BackendError> {
        match self.fault() {
            None => Ok(()),
            Some(_) => Err(BackendError::Denied { what: "destruction" }),
        }
    }
}
