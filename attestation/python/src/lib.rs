//! The verifier and attested connections for Python: the module `anchorhold._native`, below the package `anchorhold`.
//!
//! Outcomes are JSON, the same as of the command line and of the npm package; the package makes dictionaries of them. `ValueError` is
//! raised for what cannot be judged at all, such as a policy that cannot be read; evidence that is refused is an outcome, and only a
//! connection raises `Refused` for it.
//!
//! Python's `ssl` shows no exported secrets, so no Python library can judge an authenticator of its connection (RFC 9261).
//! Connections are therefore opened here, and Python gets requests and answers.

mod connection;
mod judgements;

use pyo3::pymodule;

#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::connection::{Answer, Client, ConnectionFailed, Refused};
    #[pymodule_export]
    use crate::judgements::{judge_case, verify_document, verify_evidence, verify_note, verify_receipt};
}
