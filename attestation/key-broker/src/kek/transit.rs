//! A key-encryption key in OpenBao or HashiCorp Vault: the transit secrets engine, over TLS to a server that authorities
//! of the operator's choice vouch for.
//!
//! The key must be of type `aes256-gcm96` and *derived*: the engine derives a key of its own for each [`Context`], which
//! goes along as `context` with every call, and refuses to work without one. `associated_data` would bind a context as
//! well, but the engine's `rewrap` takes none, and engines before it was introduced ignore it without a word. A key that
//! can be exported or backed up in the clear is refused.
//!
//! What the token has to be allowed, and no more: `update` on `encrypt/KEY`, `decrypt/KEY` and `rewrap/KEY`, `read` on
//! `keys/KEY`; for `kek rotate` and `kek retire` also `update` on `keys/KEY/rotate`, `keys/KEY/config` and
//! `keys/KEY/trim`, and `delete` on `keys/KEY`. Without `create`, a key that is gone is not made anew by accident.
//!
//! The engine is trusted with the secrets. Copies that the HTTP and TLS libraries make in their buffers are not wiped.

mod answer;

pub use answer::{KeyState, Lease, ciphertext, key_state, lease, plaintext, refusal, renewed};

use super::file::{FileError, read};
use super::{Backend, BackendError, Context, Destroy, Sealed};
use anchorhold_channel::client::{Answer, Connection, Error, Limits, Named, NamedClient, Target};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

/// The longest answer that is read, in bytes. That about a key names every version of it.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
const MAX_TOKEN_BYTES: usize = 4096;
/// Connections that are kept for the next call.
const MAX_IDLE: usize = 8;
/// Between two tries to renew a token.
const RENEW_AGAIN: Duration = Duration::from_secs(10);
const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Without it an agent in between that guards against forged requests refuses.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// A path of the API: segments of letters, digits, `_`, `-` and `.`, none of which begins with `.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiPath(String);

impl FromStr for ApiPath {
    type Err = BackendError;

    fn from_str(text: &str) -> Result<Self, BackendError> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"_-.".contains(&c);
        let segment = |text: &str| !text.is_empty() && !text.starts_with('.') && text.bytes().all(plain);
        if text.len() <= 256 && text.split('/').all(segment) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BackendError::Garbage { wanted: "a path of letters, digits, _, -, . and / between segments" })
        }
    }
}

/// Which key of which engine, and how to get at it.
#[derive(Debug, Clone)]
pub struct TransitSettings {
    /// Where the server is.
    pub target: Target,
    /// PEM of the authorities that vouch for the server's name.
    pub authorities: Vec<u8>,
    /// Where the engine is mounted, `transit` as a rule.
    pub mount: ApiPath,
    /// The key's name.
    pub key: ApiPath,
    /// The namespace of both, if not the root.
    pub namespace: Option<ApiPath>,
    /// A file with the token, readable by its owner alone. It is read again when the token is refused, so an agent may
    /// replace it.
    pub token_file: PathBuf,
    /// How long one exchange may take.
    pub deadline: Duration,
}

/// A key-encryption key in a transit engine.
pub struct TransitKey {
    settings: TransitSettings,
    client: NamedClient,
    /// Taken out on drop alone.
    runtime: Option<Runtime>,
    idle: Mutex<Vec<Connection<Named>>>,
    token: Mutex<Option<Token>>,
    /// Set once the key was seen to be fit for use; nothing is wrapped before.
    fit: OnceLock<()>,
}

struct Token {
    header: HeaderValue,
    /// When to renew it; `None` for one that cannot be.
    renew_at: Option<Instant>,
}

/// What is asked of the server.
enum Call {
    Get,
    Post(Zeroizing<Vec<u8>>),
    Delete,
}

impl TransitKey {
    /// The key that `settings` name. The engine is not asked yet. No other function may run on a thread of an
    /// asynchronous runtime.
    ///
    /// # Errors
    /// [`BackendError::Garbage`] when the authorities are none.
    pub fn new(settings: TransitSettings) -> Result<Self, BackendError> {
        let limits = Limits {
            connect_timeout: settings.deadline,
            request_timeout: settings.deadline,
            idle_timeout: settings.deadline,
            max_body_bytes: MAX_ANSWER_BYTES,
        };
        let client = NamedClient::new(settings.target.clone(), &settings.authorities, limits)
            .map_err(|_| BackendError::Garbage { wanted: "PEM of authorities" })?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("kek transit")
            .enable_all()
            .build()
            .map_err(|_| BackendError::Unreachable { what: "thread for the exchange" })?;
        let runtime = Some(runtime);
        Ok(Self {
            settings,
            client,
            runtime,
            idle: Mutex::default(),
            token: Mutex::default(),
            fit: OnceLock::new(),
        })
    }

    /// The token that was read last.
    fn token(&self) -> MutexGuard<'_, Option<Token>> {
        // Written whole, in one assignment.
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the token, and asks how long it is good; `None` when it is `refused`, which is what was read before.
    fn read_token(&self, refused: Option<&HeaderValue>) -> Result<Option<HeaderValue>, BackendError> {
        let header = read_token(&self.settings.token_file)?;
        if refused == Some(&header) {
            return Ok(None);
        }
        let renew_at = match self.exchange_with(&header, &Call::Get, "auth/token/lookup-self", 0) {
            // A token that may not ask about itself may still be good for the key, and somebody else renews it.
            Err(BackendError::Denied { .. }) => None,
            body => renew_at(lease(&body?)?),
        };
        *self.token() = Some(Token { header: header.clone(), renew_at });
        Ok(Some(header))
    }

    fn engine_path(&self, operation: &str, tail: &str) -> String {
        format!("{}/{operation}/{}{tail}", self.settings.mount.0, self.settings.key.0)
    }

    /// One exchange; the body of a good answer. `version` is that of the ciphertext that is sent, for the error text. When
    /// the token is refused its file is looked at once more.
    fn exchange(&self, call: &Call, path: &str, version: u32) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let known = self.token().as_ref().map(|token| token.header.clone());
        let outcome = match &known {
            Some(header) => self.exchange_with(header, call, path, version),
            None => Err(BackendError::Denied { what: "this without a token" }),
        };
        match outcome {
            Err(denied @ BackendError::Denied { .. }) => match self.read_token(known.as_ref())? {
                Some(fresh) => self.exchange_with(&fresh, call, path, version),
                None => Err(denied),
            },
            outcome => outcome,
        }
    }

    fn exchange_with(
        &self,
        token: &HeaderValue,
        call: &Call,
        path: &str,
        version: u32,
    ) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let runtime = self.runtime.as_ref().expect("the runtime is there until drop");
        let answer = runtime.block_on(self.send(token, call, &format!("/v1/{path}")))?;
        let status = answer.status.as_u16();
        // The same memory as a rule, so wiping it wipes the secret.
        let body = Zeroizing::new(Vec::from(answer.body));
        match status {
            200 | 204 => Ok(body),
            status => Err(refusal(status, &body, version)),
        }
    }

    /// Sends on a connection that is open already, or on a new one when there is none or it has ended meanwhile.
    async fn send(&self, token: &HeaderValue, call: &Call, path: &str) -> Result<Answer, BackendError> {
        let mut headers = vec![(TOKEN, token.clone()), (REQUEST, HeaderValue::from_static("true"))];
        if let Some(namespace) = &self.settings.namespace {
            let value = HeaderValue::from_str(&namespace.0);
            headers.push((NAMESPACE, value.map_err(|_| BackendError::Garbage { wanted: "a namespace" })?));
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut connection) = idle {
            match ask(&mut connection, call, path, &headers).await {
                Err(Error::Http(_)) => {}
                outcome => return self.end(connection, outcome),
            }
        }
        let mut connection = self.client.connect().await.map_err(|error| trouble(&error))?;
        let outcome = ask(&mut connection, call, path, &headers).await;
        self.end(connection, outcome)
    }

    fn end(
        &self,
        connection: Connection<Named>,
        outcome: Result<Answer, Error>,
    ) -> Result<Answer, BackendError> {
        let answer = outcome.map_err(|error| trouble(&error))?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        Ok(answer)
    }

    fn configure(&self, json: &str) -> Result<(), BackendError> {
        let call = Call::Post(Zeroizing::new(json.as_bytes().to_vec()));
        self.exchange(&call, &self.engine_path("keys", "/config"), 0).map(drop)
    }
}

async fn ask(
    connection: &mut Connection<Named>,
    call: &Call,
    path: &str,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<Answer, Error> {
    match call {
        Call::Get => connection.get(path, headers).await,
        // The copy wipes itself when the exchange lets go of it.
        Call::Post(json) => connection.post_json(path, headers, Bytes::from_owner(json.clone())).await,
        Call::Delete => connection.delete(path, headers).await,
    }
}

fn trouble(error: &Error) -> BackendError {
    match error {
        Error::Timeout { within, .. } => BackendError::Timeout { within: *within },
        Error::TooLong { .. } => BackendError::Garbage { wanted: "short" },
        Error::Connect { .. } => {
            BackendError::Unreachable { what: "connection, or another server's certificate" }
        }
        _ => BackendError::Unreachable { what: "whole answer" },
    }
}

fn read_token(path: &std::path::Path) -> Result<HeaderValue, BackendError> {
    let token = read(path, MAX_TOKEN_BYTES).map_err(|error| match error {
        FileError::Open { .. } => BackendError::Denied { what: "a token file that others can read" },
        _ => BackendError::Missing { what: "token file" },
    })?;
    let token = token.trim_ascii();
    let header = HeaderValue::from_bytes(token).ok().filter(|_| !token.is_empty());
    let mut header = header.ok_or(BackendError::Garbage { wanted: "a token" })?;
    header.set_sensitive(true);
    Ok(header)
}

/// A JSON object of texts that need no escapes.
fn object(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let room = fields.iter().map(|(name, value)| name.len() + value.len() + 6).sum::<usize>() + 2;
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    let mut before = "{\"";
    for (name, value) in fields {
        for part in [before, name, "\":\"", value, "\""] {
            out.extend_from_slice(part.as_bytes());
        }
        before = ",\"";
    }
    out.extend_from_slice(if fields.is_empty() { b"{}" } else { b"}" });
    out
}

/// The ciphertext of a blob, if it is one of the version that the blob says.
fn text_of(sealed: &Sealed) -> Result<&str, BackendError> {
    let text = std::str::from_utf8(&sealed.bytes).map_err(|_| BackendError::Open)?;
    match answer::version_of(text) {
        Some(version) if version == sealed.version => Ok(text),
        _ => Err(BackendError::Open),
    }
}

impl Backend for TransitKey {
    fn wrap(&self, context: &Context, plain: &[u8]) -> Result<Sealed, BackendError> {
        if self.fit.get().is_none() {
            self.version()?;
        }
        let plain = Zeroizing::new(STANDARD.encode(plain));
        let context = STANDARD.encode(context.as_bytes());
        let body = object(&[("plaintext", &plain), ("context", &context)]);
        ciphertext(&self.exchange(&Call::Post(body), &self.engine_path("encrypt", ""), 0)?)
    }

    fn unwrap(&self, context: &Context, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let context = STANDARD.encode(context.as_bytes());
        let body = object(&[("ciphertext", text_of(sealed)?), ("context", &context)]);
        let path = self.engine_path("decrypt", "");
        plaintext(&self.exchange(&Call::Post(body), &path, sealed.version)?)
    }

    /// The engine does it, so that no secret crosses the network for it.
    fn rewrap(&self, context: &Context, sealed: &Sealed) -> Result<Sealed, BackendError> {
        let context = STANDARD.encode(context.as_bytes());
        let body = object(&[("ciphertext", text_of(sealed)?), ("context", &context)]);
        let path = self.engine_path("rewrap", "");
        ciphertext(&self.exchange(&Call::Post(body), &path, sealed.version)?)
    }

    fn version(&self) -> Result<u32, BackendError> {
        let version = key_state(&self.exchange(&Call::Get, &self.engine_path("keys", ""), 0)?)?.version()?;
        let _ = self.fit.set(());
        Ok(version)
    }

    fn rotate(&self) -> Result<u32, BackendError> {
        self.exchange(&Call::Post(object(&[])), &self.engine_path("keys", "/rotate"), 0)?;
        self.version()
    }

    /// Versions are destroyed by `trim`: to raise `min_decryption_version` alone could be undone.
    fn destroy(&self, what: Destroy) -> Result<(), BackendError> {
        match what {
            Destroy::VersionsBelow(version) => {
                if version > self.version()? {
                    return Err(BackendError::Version { observed: version });
                }
                self.configure(&format!(
                    r#"{{"min_decryption_version":{version},"min_encryption_version":{version}}}"#
                ))?;
                let trim = format!(r#"{{"min_available_version":{version}}}"#);
                let call = Call::Post(Zeroizing::new(trim.into_bytes()));
                self.exchange(&call, &self.engine_path("keys", "/trim"), 0).map(drop)
            }
            Destroy::Key => {
                // An earlier attempt may have been cut off after the end.
                match self.exchange(&Call::Get, &self.engine_path("keys", ""), 0) {
                    Err(BackendError::Missing { .. }) => return Ok(()),
                    outcome => outcome.map(drop)?,
                }
                self.configure(r#"{"deletion_allowed":true}"#)?;
                self.exchange(&Call::Delete, &self.engine_path("keys", ""), 0).map(drop)
            }
        }
    }

    /// Renews the token when two thirds of its time are over.
    fn upkeep(&self) -> Result<(), BackendError> {
        let due = |token: &Token| token.renew_at.is_some_and(|at| Instant::now() >= at);
        if !self.token().as_ref().is_some_and(due) {
            return Ok(());
        }
        let renewal = self.exchange(&Call::Post(object(&[])), "auth/token/renew-self", 0);
        let lease = renewal.and_then(|body| renewed(&body));
        if let Some(token) = self.token().as_mut() {
            token.renew_at = match &lease {
                Ok(lease) => renew_at(*lease),
                Err(_) => Instant::now().checked_add(RENEW_AGAIN),
            };
        }
        lease.map(drop)
    }
}

fn renew_at(lease: Lease) -> Option<Instant> {
    Instant::now().checked_add(lease.renew_after()?)
}

impl Drop for TransitKey {
    fn drop(&mut self) {
        // To wait for it would be forbidden where the key is dropped on a thread of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for TransitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransitKey({}/{})", self.settings.mount.0, self.settings.key.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_paths_that_lead_elsewhere() {
        for bad in
            ["", "/", "a/", "/a", "a//b", "..", "a/../b", ".a", "a b", "a?b", "a%2fb", "ä", &"a".repeat(257)]
        {
            assert!(bad.parse::<ApiPath>().is_err(), "{bad:?}");
        }
        for good in ["transit", "teams/a-1/transit", "kek_1.x"] {
            assert_eq!(good.parse(), Ok(ApiPath(good.to_owned())), "{good}");
        }
    }

    #[test]
    fn an_object_is_json_and_is_never_moved_while_it_grows() {
        assert_eq!(object(&[]).as_slice(), b"{}");
        let body = object(&[("plaintext", "AAAA"), ("context", "BBBB")]);
        assert_eq!(body.as_slice(), br#"{"plaintext":"AAAA","context":"BBBB"}"#);
        assert!(body.capacity() >= body.len());
    }
}
