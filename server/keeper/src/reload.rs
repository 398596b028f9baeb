//! The gateway's settings, which the keeper reads again when it is told to (SIGHUP).
//!
//! The gateway has no files once it is confined, and keeps it so: what reads them is the process that has them open to it anyway. The
//! keeper hands their text over and understands nothing of it but where the file of keys is, and that only at the start.

use anchorhold_ipc::ToGateway;
use anyhow::{Context as _, ensure};
use serde::Deserialize;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The most bytes of either file.
const MAX_BYTES: u64 = 1024 * 1024;

/// Where the gateway's settings are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GatewayFiles {
    config: PathBuf,
    keys: Option<PathBuf>,
}

/// The one key of the gateway's settings that the keeper looks at.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    keys_file: Option<PathBuf>,
}

impl GatewayFiles {
    /// What the settings at this path name.
    ///
    /// # Errors
    /// They cannot be read, or are no TOML.
    pub(crate) fn of(config: &Path) -> anyhow::Result<Self> {
        let named: Named = toml::from_str(&read(config)?).with_context(|| format!("{}", config.display()))?;
        let keys = named.keys_file.map(|keys| config.with_file_name("").join(keys));
        Ok(Self { config: config.to_owned(), keys })
    }

    /// The folders that they are in. A file that is replaced as a whole is another file by then, so that to reach the old one
    /// would not do.
    pub(crate) fn folders(&self) -> impl Iterator<Item = PathBuf> {
        let files = std::iter::once(&self.config).chain(&self.keys);
        files.filter_map(|file| file.parent()).map(Path::to_owned)
    }

    /// Their text as it is now, for the gateway.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub(crate) fn message(&self) -> anyhow::Result<ToGateway> {
        let settings = read(&self.config)?;
        let keys = self.keys.as_deref().map(read).transpose()?;
        Ok(ToGateway::Reload { settings, keys })
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
        assert_eq!(files.keys.as_ref(), Some(&keys));
        assert_eq!(files.folders().collect::<Vec<_>>(), [folder.clone(), folder.clone()]);
        assert!(files.message().is_err(), "there is no file of keys");
        std::fs::write(&keys, "one").unwrap();
        let written = std::fs::read_to_string(&config).unwrap();
        let message =
            |keys: &str| ToGateway::Reload { settings: written.clone(), keys: Some(keys.to_owned()) };
        assert_eq!(files.message().unwrap(), message("one"));
        std::fs::write(folder.join("new"), "two").unwrap();
        std::fs::rename(folder.join("new"), &keys).unwrap();
        assert_eq!(files.message().unwrap(), message("two"));
        std::fs::write(&keys, vec![b'x'; 1024 * 1024 + 1]).unwrap();
        assert!(files.message().unwrap_err().to_string().contains("over the limit"));
        std::fs::write(&config, "names = [").unwrap();
        assert!(GatewayFiles::of(&config).is_err());
        std::fs::write(&config, "listen = \"x\"\n").unwrap();
        assert_eq!(GatewayFiles::of(&config).unwrap().keys, None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
