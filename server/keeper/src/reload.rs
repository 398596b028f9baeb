//! The gateway's settings, which the keeper reads again when it is told to (SIGHUP).
//!
//! The gateway has no files once it is confined, and keeps it so: what reads them is the process that has them open to it anyway. The
//! keeper hands their text over and understands nothing of it but which files it names, and that only at the start.

use anchorhold_ipc::ToGateway;
use anyhow::{Context as _, ensure};
use serde::Deserialize;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The most bytes of each file.
const MAX_BYTES: u64 = 1024 * 1024;
/// The most files, so that all of them are one message.
const MAX_FILES: usize = 10;

/// Where the gateway's settings are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GatewayFiles {
    config: PathBuf,
    /// The files that they name, as they name them.
    named: Vec<String>,
}

/// The keys of the gateway's settings that the keeper looks at.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    keys_file: Option<String>,
    #[serde(default)]
    oidc: Vec<NamedIssuer>,
    #[serde(default)]
    clients: Option<NamedClients>,
}

#[derive(Deserialize)]
struct NamedIssuer {
    #[serde(default)]
    jwks_file: Option<String>,
}

#[derive(Deserialize)]
struct NamedClients {
    #[serde(default)]
    ca_file: Option<String>,
}

impl GatewayFiles {
    /// What the settings at this path name.
    ///
    /// # Errors
    /// They cannot be read, or are no TOML, or name too much.
    pub(crate) fn of(config: &Path) -> anyhow::Result<Self> {
        let named: Named = toml::from_str(&read(config)?).with_context(|| format!("{}", config.display()))?;
        let issuers = named.oidc.into_iter().filter_map(|issuer| issuer.jwks_file);
        let clients = named.clients.and_then(|clients| clients.ca_file);
        let named: Vec<String> = named.keys_file.into_iter().chain(issuers).chain(clients).collect();
        ensure!(named.len() <= MAX_FILES, "{} files are named, the limit is {MAX_FILES}", named.len());
        Ok(Self { config: config.to_owned(), named })
    }

    fn place(&self, named: &str) -> PathBuf {
        self.config.with_file_name("").join(named)
    }

    /// The folders that they are in. A file that is replaced as a whole is another file by then, so that to reach the old one
    /// would not do.
    pub(crate) fn folders(&self) -> impl Iterator<Item = PathBuf> {
        let named = self.named.iter().map(|named| self.place(named));
        std::iter::once(self.config.clone()).chain(named).filter_map(|file| file.parent().map(Path::to_owned))
    }

    /// Their text as it is now, for the gateway.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub(crate) fn message(&self) -> anyhow::Result<ToGateway> {
        let settings = read(&self.config)?;
        let files = self.named.iter().map(|named| Ok((named.clone(), read(&self.place(named))?)));
        Ok(ToGateway::Reload { settings, files: files.collect::<anyhow::Result<_>>()? })
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let place = || format!("{}", path.display());
    let mut text = String::new();
    let file = File::open(path).with_context(place)?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).with_context(place)?;
    ensure!(text.len() as u64 <= MAX_BYTES, "{}: over the limit of {MAX_BYTES} bytes", place());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_files_as_they_are_now() {
        let folder = std::env::temp_dir().join(format!("keeper-reload-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (config, keys) = (folder.join("gateway.toml"), folder.join("keys.toml"));
        std::fs::write(&config, "keys_file = \"keys.toml\"\nlisten = \"x\"\n").unwrap();
        let files = GatewayFiles::of(&config).unwrap();
        assert_eq!(files.named, ["keys.toml"]);
        assert_eq!(files.folders().collect::<Vec<_>>(), [folder.clone(), folder.clone()]);
        assert!(files.message().is_err(), "there is no file of keys");
        std::fs::write(&keys, "one").unwrap();
        let written = std::fs::read_to_string(&config).unwrap();
        let message = |keys: &str| ToGateway::Reload {
            settings: written.clone(),
            files: vec![("keys.toml".to_owned(), keys.to_owned())],
        };
        assert_eq!(files.message().unwrap(), message("one"));
        std::fs::write(folder.join("new"), "two").unwrap();
        std::fs::rename(folder.join("new"), &keys).unwrap();
        assert_eq!(files.message().unwrap(), message("two"));
        std::fs::write(&keys, vec![b'x'; 1024 * 1024 + 1]).unwrap();
        assert!(files.message().unwrap_err().to_string().contains("over the limit"));
        std::fs::write(&config, "names = [").unwrap();
        assert!(GatewayFiles::of(&config).is_err());
        std::fs::write(&config, "listen = \"x\"\n").unwrap();
        assert!(GatewayFiles::of(&config).unwrap().named.is_empty());
        std::fs::write(&config, "clients = { ca_file = \"/ca.pem\" }\n[[oidc]]\njwks_file = \"a.json\"\n")
            .unwrap();
        let folders: Vec<_> = GatewayFiles::of(&config).unwrap().folders().collect();
        assert_eq!(folders, [folder.clone(), folder.clone(), PathBuf::from("/")]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
