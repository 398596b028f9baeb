//! Commands of the operator. A serving broker takes them on a socket in its state folder; when none serves, the program
//! opens the state and does the same itself. So nothing needs a restart.
//!
//! One connection, one command: a line of JSON, and a line of JSON for the answer; after the answer to an export or a backtest
//! its bytes follow.

use crate::broker::{Broker, BrokerError, NewPolicy, Replaces};
use crate::kek_admin::{KekAdminError, KekRequest};
use anchorhold_audit_log::{ExportError, VerifierKey};
use anchorhold_dsse::MAX_ENVELOPE_BYTES;
use anchorhold_kbs::MAX_RESOURCE_BYTES;
use anchorhold_key_release::{MAX_IMPORT_BYTES, MAX_POLICY_BYTES, ParseRevokedError, Revoked};
use anchorhold_rats::{ParsePathError, ResourcePath, Timestamp, base64_bytes};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// The longest command, in bytes: a policy with its signatures and Cedar policies in JSON, or a resource in base64.
const MAX_COMMAND_BYTES: u64 =
    2 * (MAX_ENVELOPE_BYTES + MAX_POLICY_BYTES + MAX_IMPORT_BYTES + MAX_RESOURCE_BYTES) as u64;
/// How long either end waits for the other.
const WAIT: Duration = Duration::from_secs(30);

/// What the operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Take a weights key; the owner's import file.
    Import(#[serde(with = "base64_bytes")] Vec<u8>),
    /// Put a policy in force.
    Policy {
        /// The file, signed where the broker has signers.
        #[serde(with = "base64_bytes")]
        file: Vec<u8>,
        /// The Cedar policies that it names.
        #[serde(default)]
        cedar: Option<String>,
        /// Whose place it takes.
        replaces: Replaces,
    },
    /// Put other signers of policies in the place of those that there are; the signed file.
    Signers(#[serde(with = "base64_bytes")] Vec<u8>),
    /// Ask a policy about the decisions in the log; what it would have said is written as JSON.
    Backtest {
        /// The policy's text.
        policy: String,
        /// From when on.
        #[serde(default)]
        since: Option<Timestamp>,
    },
    /// Revoke at once: kind and name.
    Revoke(String, String),
    /// Witness the log of this verifier key.
    Witness(String),
    /// Keep a resource under this name, in place of any of that name.
    AddResource(String, #[serde(with = "base64_bytes")] Vec<u8>),
    /// Take the resource of this name away.
    RemoveResource(String),
    /// Show the names of all resources.
    Resources,
    /// Show what there is.
    Status,
    /// Look after the key-encryption keys.
    Kek(KekRequest),
    /// Write the log, one entry to a line.
    Entries,
    /// Write the log as an evidence bundle.
    Export,
}

/// Why a command was not done.
#[derive(Debug)]
pub enum AdminError {
    /// The broker.
    Broker(BrokerError),
    /// What was to be revoked.
    Revoked(ParseRevokedError),
    /// The name of a resource.
    Path(ParsePathError),
    /// The log's key.
    LogKey(anchorhold_audit_log::note::NoteError),
    /// The export.
    Export(ExportError),
    /// The key-encryption keys.
    Kek(KekAdminError),
    /// The socket.
    Io(io::Error),
    /// The serving broker said so.
    Told(String),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker(error) => error.fmt(f),
            Self::Revoked(error) => error.fmt(f),
            Self::Path(error) => error.fmt(f),
            Self::LogKey(error) => write!(f, "log key: {error}"),
            Self::Export(error) => error.fmt(f),
            Self::Kek(error) => error.fmt(f),
            Self::Io(error) => write!(f, "admin socket: {error}"),
            Self::Told(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for AdminError {}

impl From<BrokerError> for AdminError {
    fn from(error: BrokerError) -> Self {
        Self::Broker(error)
    }
}

impl From<ExportError> for AdminError {
    fn from(error: ExportError) -> Self {
        Self::Export(error)
    }
}

impl From<io::Error> for AdminError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The line that answers a command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reply {
    Done(serde_json::Value),
    Refused(String),
}

/// Does what a command asks. What is exported goes to `out`; the value is for the operator to read.
///
/// # Errors
/// [`AdminError`].
pub fn execute(
    broker: &Broker,
    command: Command,
    out: &mut dyn Write,
) -> Result<serde_json::Value, AdminError> {
    let value = match command {
        Command::Import(file) => serde_json::to_value(broker.import(&file)?),
        Command::Policy { file, cedar, replaces } => {
            let policy = broker.activate(NewPolicy { file, cedar, replaces })?;
            Ok(serde_json::json!({
                "policy": policy.id(), "version": policy.version(), "digest": policy.digest(),
                "expires": policy.expires(),
            }))
        }
        Command::Signers(envelope) => {
            let set = broker.rotate_signers(&envelope)?;
            Ok(serde_json::json!({
                "signers": set.id(), "version": set.version(), "digest": set.digest(),
                "threshold": set.threshold(),
            }))
        }
        Command::Backtest { policy, since } => {
            let found = broker.backtest(&policy, since)?;
            serde_json::to_writer(&mut *out, &found).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
            Ok(serde_json::json!({ "unchanged": found.is_unchanged() }))
        }
        Command::Revoke(kind, name) => {
            let revoked = Revoked::parse(&kind, &name).map_err(AdminError::Revoked)?;
            broker.revoke(&revoked)?;
            let mut told = serde_json::json!({ "revoked": revoked.kind(), "name": revoked.name() });
            // Revoked it is all the same: such a key may yet be imported.
            if let (Some(held), Some(told)) = (broker.holds(&revoked)?, told.as_object_mut()) {
                told.insert("held".to_owned(), held.into());
            }
            Ok(told)
        }
        Command::Witness(key) => {
            let key = VerifierKey::parse(&key).map_err(AdminError::LogKey)?;
            broker.witness_log(&key)?;
            Ok(serde_json::json!({ "witnessed": key.name() }))
        }
        Command::AddResource(name, content) => {
            let path = name.parse::<ResourcePath>().map_err(AdminError::Path)?;
            broker.add_resource(&path, &Zeroizing::new(content))?;
            Ok(serde_json::json!({ "resource": path.as_str() }))
        }
        Command::RemoveResource(name) => {
            let path = name.parse::<ResourcePath>().map_err(AdminError::Path)?;
            let removed = broker.remove_resource(&path)?;
            Ok(serde_json::json!({ "resource": path.as_str(), "removed": removed }))
        }
        Command::Resources => {
            let names = broker.resource_names()?;
            Ok(serde_json::json!({ "resources": names.iter().map(ResourcePath::as_str).collect::<Vec<_>>() }))
        }
        Command::Status => serde_json::to_value(broker.status()?),
        Command::Kek(request) => serde_json::to_value(broker.kek(&request).map_err(AdminError::Kek)?),
        Command::Entries => Ok(serde_json::json!({ "entries": broker.export_entries(out)? })),
        Command::Export => {
            let summary = broker.export_log(out)?;
            Ok(serde_json::json!({ "entries": summary.manifest.count, "origin": summary.manifest.origin }))
        }
    };
    value.map_err(|error| AdminError::Io(error.into()))
}

/// Asks the broker that serves behind `socket`; `None` when none does.
///
/// # Errors
/// [`AdminError`].
pub fn ask(
    socket: &Path,
    command: &Command,
    out: &mut dyn Write,
) -> Result<Option<serde_json::Value>, AdminError> {
    let stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        // Left behind by a broker that was killed, or never there.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    stream.set_write_timeout(Some(WAIT))?;
    let mut line = serde_json::to_vec(command).map_err(io::Error::from)?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    let mut stream = BufReader::new(stream);
    let mut reply = Vec::new();
    (&mut stream).take(MAX_COMMAND_BYTES).read_until(b'\n', &mut reply)?;
    match serde_json::from_slice(&reply).map_err(io::Error::from)? {
        Reply::Done(value) => {
            io::copy(&mut stream, out)?;
            Ok(Some(value))
        }
        Reply::Refused(text) => Err(AdminError::Told(text)),
    }
}

/// Makes the socket, for its owner alone. One that a dead broker left behind is replaced; the state's lock shows that it is dead.
///
/// # Errors
/// Any from the file system.
pub fn listen(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers commands, one after the other, until the process ends. Exports are spooled in `folder`.
pub fn serve(listener: &UnixListener, broker: &Arc<Broker>, folder: &Path) {
    for stream in listener.incoming() {
        let outcome = stream.and_then(|stream| answer(&stream, broker, folder));
        if let Err(error) = outcome {
            broker.report(&format!("admin socket: {error}"));
        }
    }
}

fn answer(stream: &UnixStream, broker: &Broker, folder: &Path) -> io::Result<()> {
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    if peer.uid != rustix::process::geteuid() && !peer.uid.is_root() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the peer is another user"));
    }
    let mut line = Vec::new();
    BufReader::new(stream).take(MAX_COMMAND_BYTES).read_until(b'\n', &mut line)?;
    let mut writer = stream;
    let command = match serde_json::from_slice::<Command>(&line) {
        Ok(command) => command,
        // The program and the broker are of different versions; nothing of the command is repeated.
        Err(_) => return reply(&mut writer, &Reply::Refused("command not understood".to_owned())),
    };
    if matches!(command, Command::Entries | Command::Export | Command::Backtest { .. }) {
        // Spooled first, so that a failure half way is told as one.
        let mut spool = spool(folder)?;
        return match execute(broker, command, &mut spool) {
            Ok(value) => {
                reply(&mut writer, &Reply::Done(value))?;
                spool.rewind()?;
                io::copy(&mut spool, &mut writer).map(drop)
            }
            Err(error) => reply(&mut writer, &Reply::Refused(error.to_string())),
        };
    }
    let outcome = execute(broker, command, &mut io::sink());
    let outcome = outcome.map_or_else(|error| Reply::Refused(error.to_string()), Reply::Done);
    reply(&mut writer, &outcome)
}

/// A file without a name. One that is there was left by a broker that ended before it took the name away: there is one answer at
/// a time, and one broker in a folder.
fn spool(folder: &Path) -> io::Result<File> {
    let path = folder.join("export.spool");
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn reply(writer: &mut impl Write, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    writer.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_that_was_left_behind_does_not_stop_the_next_export() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("export.spool"), "half an export").unwrap();
        let mut spool = spool(folder.path()).unwrap();
        assert_eq!(spool.metadata().unwrap().len(), 0);
        assert_eq!(spool.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it has no name");
        spool.write_all(b"an export").unwrap();
    }
}
