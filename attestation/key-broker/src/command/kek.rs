//! The commands about key-encryption keys, and the options that say where one is.

use super::{StateFolder, open};
use crate::admin;
use crate::kek::KekId;
use crate::kek::settings::{Origin, Role, WrittenKek};
use crate::kek_admin::{Fate, KekReply, KekRequest, ShareOrder};
use crate::layout::Layout;
use anchorhold_verifier::TrustAnchors;
use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum KekCommand {
    /// List the key-encryption keys, how they do and how many secrets are under each
    List {
        #[command(flatten)]
        folder: StateFolder,
    },
    /// Add a key-encryption key; new secrets are wrapped under it from then on
    Add {
        #[command(flatten)]
        folder: StateFolder,
        /// Only open with it what other brokers on the same state wrap under it
        #[arg(long)]
        standby: bool,
        #[command(flatten)]
        kek: Box<KekOptions>,
    },
    /// Wrap new secrets under a key that was added on standby
    Promote {
        #[command(flatten)]
        folder: StateFolder,
        /// The key's id
        id: KekId,
    },
    /// Make a new version of a key, in a backend with versions
    Rotate {
        #[command(flatten)]
        folder: StateFolder,
        /// The key's id
        id: KekId,
    },
    /// Wrap every secret anew under the newest key; one that was cut off goes on
    Rewrap {
        #[command(flatten)]
        folder: StateFolder,
    },
    /// Destroy a key under which nothing is any more, or its old versions
    Retire {
        #[command(flatten)]
        folder: StateFolder,
        /// The key's id
        id: KekId,
        /// Destroy only the versions below this one
        #[arg(long, value_name = "VERSION")]
        below: Option<u32>,
        /// Leave it to whoever runs the backend to destroy the key
        #[arg(long)]
        leave_key: bool,
    },
    /// Write the files of a lost key anew from its shares; no broker may run
    Recover {
        #[command(flatten)]
        folder: StateFolder,
        /// The key's id
        id: KekId,
        /// File with a share; given as often as shares are needed
        #[arg(long = "share", value_name = "FILE", required = true)]
        shares: Vec<PathBuf>,
    },
}

/// What a command asks of the broker, or of the state folder.
pub(super) enum Asked {
    Broker(StateFolder, KekRequest),
    Rewrap(StateFolder),
    Recover(StateFolder, KekId, Vec<PathBuf>),
}

impl KekCommand {
    pub(super) fn asked(self) -> anyhow::Result<Asked> {
        Ok(match self {
            Self::List { folder } => Asked::Broker(folder, KekRequest::List {}),
            Self::Add { folder, standby, kek } => {
                let (kek, origin, shares) = kek.written()?;
                let role = if standby { Role::Standby } else { Role::Primary };
                Asked::Broker(folder, KekRequest::Add { kek: Box::new(kek), origin, role, shares })
            }
            Self::Promote { folder, id } => Asked::Broker(folder, KekRequest::Promote { id }),
            Self::Rotate { folder, id } => Asked::Broker(folder, KekRequest::Rotate { id }),
            Self::Rewrap { folder } => Asked::Rewrap(folder),
            Self::Retire { folder, id, below, leave_key } => {
                let fate = if leave_key { Fate::Left } else { Fate::Destroyed };
                Asked::Broker(folder, KekRequest::Retire { id, below, fate })
            }
            Self::Recover { folder, id, shares } => Asked::Recover(folder, id, shares),
        })
    }
}

/// Asks for page after page, of the broker that serves or of the state when none does.
pub(super) fn rewrap(layout: &Layout, anchors: TrustAnchors) -> anyhow::Result<serde_json::Value> {
    let nowhere = &mut std::io::sink();
    let command = |after| admin::Command::Kek(KekRequest::Rewrap { after });
    let (mut page, own) = match admin::ask(&layout.admin_socket(), &command(Vec::new()), nowhere)? {
        Some(page) => (page, None),
        None => {
            let broker = open(layout, anchors)?;
            (admin::execute(&broker, command(Vec::new()), nowhere)?, Some(broker))
        }
    };
    let (mut all, mut failures) = (0, Vec::new());
    loop {
        let KekReply::Rewrap { renewed, failed, next } = serde_json::from_value(page)? else {
            anyhow::bail!("the broker answered something else");
        };
        all += renewed;
        failures.extend(failed);
        if next.is_empty() {
            let total = KekReply::Rewrap { renewed: all, failed: failures, next };
            return Ok(serde_json::to_value(total)?);
        }
        page = match &own {
            Some(broker) => admin::execute(broker, command(next), nowhere)?,
            None => admin::ask(&layout.admin_socket(), &command(next), nowhere)?
                .context("the broker does not serve any more: rewrap again to go on")?,
        };
    }
}

/// Kinds of places for a key-encryption key.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A file, sealed under a credential
    File,
    /// An HSM, through its PKCS#11 module
    Pkcs11,
    /// The transit engine of OpenBao or Vault
    Transit,
}

/// Where a key-encryption key is.
#[derive(Args)]
#[command(next_help_heading = "Key-encryption key")]
pub(super) struct KekOptions {
    /// Where the key is
    #[arg(long = "kek", value_name = "KIND", value_enum, default_value = "file")]
    kind: Kind,
    /// The key's id; never used again for another one
    #[arg(long = "kek-id", value_name = "ID")]
    id: Option<KekId>,
    /// file, pkcs11: use a key that is there already
    #[arg(long)]
    existing_key: bool,
    /// file: what opens the sealed file; made if it is not there [default: beside the sealed file]
    #[arg(long, value_name = "FILE")]
    credential: Option<PathBuf>,
    /// file: shares for recovery, such as 3-of-5
    #[arg(long, value_name = "K-of-N", requires = "shares_to")]
    shares: Option<String>,
    /// file: folder for the shares
    #[arg(long, value_name = "DIR", requires = "shares")]
    shares_to: Option<PathBuf>,
    /// pkcs11: the module, a shared library
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// pkcs11: the token's label
    #[arg(long, value_name = "LABEL")]
    token: Option<String>,
    /// pkcs11, transit: the key's label or name
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// pkcs11: file with the PIN
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// transit: https://host[:port]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// transit: file with the authorities of the server's certificate, PEM
    #[arg(long, value_name = "FILE")]
    authorities: Option<PathBuf>,
    /// transit: where the engine is mounted
    #[arg(long, value_name = "PATH", default_value = "transit")]
    mount: String,
    /// transit: the namespace
    #[arg(long, value_name = "PATH")]
    namespace: Option<String>,
    /// transit: file with the token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// pkcs11, transit: how long one call may take, in milliseconds [default: 5000]
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<u64>,
}

impl KekOptions {
    /// The key as settings write it, with what is needed to make it. Options of another kind are refused.
    pub(super) fn written(self) -> anyhow::Result<(WrittenKek, Origin, Option<ShareOrder>)> {
        self.refuse_foreign()?;
        let first = match self.kind {
            Kind::File => "file-1",
            Kind::Pkcs11 => "pkcs11-1",
            Kind::Transit => "transit-1",
        };
        let id = self.id.map_or_else(|| first.parse(), Ok)?;
        let origin =
            if self.existing_key || self.kind == Kind::Transit { Origin::Existing } else { Origin::Fresh };
        let shares = match (self.shares, self.shares_to) {
            (Some(scheme), Some(folder)) => Some(ShareOrder { scheme, folder: absolute(&folder)? }),
            _ => None,
        };
        let written = match self.kind {
            Kind::File => match (WrittenKek::file_beside_state(id), self.credential) {
                (WrittenKek::File { id, sealed, .. }, Some(path)) => {
                    WrittenKek::File { id, sealed, credential: absolute(&path)? }
                }
                (beside, _) => beside,
            },
            Kind::Pkcs11 => WrittenKek::Pkcs11 {
                id,
                module: absolute(&self.module.context("--kek pkcs11 needs --module")?)?,
                token: self.token.context("--kek pkcs11 needs --token")?,
                key: self.key.context("--kek pkcs11 needs --key")?,
                pin_file: absolute(&self.pin_file.context("--kek pkcs11 needs --pin-file")?)?,
                deadline_ms: self.deadline_ms,
            },
            Kind::Transit => WrittenKek::Transit {
                id,
                url: self.url.context("--kek transit needs --url")?,
                authorities: absolute(&self.authorities.context("--kek transit needs --authorities")?)?,
                mount: self.mount,
                key: self.key.context("--kek transit needs --key")?,
                namespace: self.namespace,
                token_file: absolute(&self.token_file.context("--kek transit needs --token-file")?)?,
                deadline_ms: self.deadline_ms,
            },
        };
        Ok((written, origin, shares))
    }

    fn refuse_foreign(&self) -> anyhow::Result<()> {
        let (file, pkcs11, transit) = (Kind::File, Kind::Pkcs11, Kind::Transit);
        let given: [(bool, &str, &[Kind]); 12] = [
            (self.existing_key, "--existing-key", &[file, pkcs11]),
            (self.credential.is_some(), "--credential", &[file]),
            (self.shares.is_some(), "--shares", &[file]),
            (self.module.is_some(), "--module", &[pkcs11]),
            (self.token.is_some(), "--token", &[pkcs11]),
            (self.key.is_some(), "--key", &[pkcs11, transit]),
            (self.pin_file.is_some(), "--pin-file", &[pkcs11]),
            (self.url.is_some(), "--url", &[transit]),
            (self.authorities.is_some(), "--authorities", &[transit]),
            (self.namespace.is_some(), "--namespace", &[transit]),
            (self.token_file.is_some(), "--token-file", &[transit]),
            (self.deadline_ms.is_some(), "--deadline-ms", &[pkcs11, transit]),
        ];
        match given.into_iter().find(|(given, _, kinds)| *given && !kinds.contains(&self.kind)) {
            Some((_, option, _)) => anyhow::bail!("{option} says nothing about this kind of key"),
            None => Ok(()),
        }
    }
}

/// What is written has to mean the same from every folder.
fn absolute(path: &std::path::Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}
