//! `image.lock`, `gpu.lock` and `build.lock`: the Debian packages that images are made of, those that images with GPUs have beside, and
//! those that images are built with, each by version and digest.

use crate::sha256;
use crate::table::Profile;
use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The longest package, in bytes.
const MAX_PACKAGE_LEN: u64 = 256 << 20;
const DIGEST_HEX_LEN: usize = 64;

/// The file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The time that everything in an image has, in seconds since 1970.
    pub epoch: u64,
    /// The packages.
    #[serde(rename = "package")]
    pub packages: Vec<Package>,
}

/// One package.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// As Debian calls it.
    pub name: String,
    /// Debian's version.
    pub version: String,
    /// Which of the mirror's archives has it.
    pub archive: Archive,
    /// Its place there.
    pub path: String,
    /// Of the package's file, hex.
    pub sha256: String,
}

/// An archive of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Archive {
    /// The releases.
    Debian,
    /// Their security updates.
    DebianSecurity,
}

impl Lock {
    /// What images of a profile are made of: `image.lock`, and for those with GPUs `gpu.lock` beside it.
    pub fn of(repository: &Path, profile: Profile) -> anyhow::Result<Self> {
        let folder = repository.join("enclave-image");
        let mut lock = Self::read(&folder.join("image.lock"))?;
        if profile == Profile::Gpu {
            lock.add(Self::read(&folder.join("gpu.lock"))?).context("gpu.lock")?;
        }
        Ok(lock)
    }

    fn add(&mut self, other: Self) -> anyhow::Result<()> {
        ensure!(other.epoch == self.epoch, "the epoch is {}, elsewhere {}", other.epoch, self.epoch);
        for package in &other.packages {
            let twice = self.packages.iter().any(|known| known.name == package.name);
            ensure!(!twice, "{} stands twice", package.name);
        }
        self.packages.extend(other.packages);
        Ok(())
    }

    /// Reads the file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let lock: Self = toml::from_str(text)?;
        for (at, package) in lock.packages.iter().enumerate() {
            let Package { name, path, sha256, .. } = package;
            let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            ensure!(
                sha256.len() == DIGEST_HEX_LEN && sha256.bytes().all(is_hex),
                "{name}: sha256 is not {DIGEST_HEX_LEN} lowercase hex digits"
            );
            ensure!(path.starts_with("pool/") && !path.contains(".."), "{name}: {path} is not in the pool");
            let twice = lock.packages.iter().skip(at + 1).any(|other| other.name == *name);
            ensure!(!twice, "{name} stands twice");
        }
        Ok(lock)
    }

    /// The package with this name.
    pub fn package(&self, name: &str) -> anyhow::Result<&Package> {
        let found = self.packages.iter().find(|package| package.name == name);
        found.with_context(|| format!("{name} is not locked"))
    }
}

impl Package {
    fn kept(&self, cache: &Path) -> PathBuf {
        cache.join(format!("{}.deb", self.sha256))
    }

    /// Its file in the cache, fetched from the mirror (`http://host/debian`) if it is not there, and held against its digest either
    /// way.
    pub fn fetch(&self, cache: &Path, mirror: Option<&str>) -> anyhow::Result<PathBuf> {
        let path = self.kept(cache);
        if !path.exists() {
            let mirror = mirror
                .with_context(|| format!("{} is not in the cache and there is no mirror", self.name))?;
            std::fs::create_dir_all(cache)?;
            let unfinished = path.with_extension("part");
            let status = Command::new("curl")
                .args(["-fsSL", "--retry", "3", "--max-filesize"])
                .arg(MAX_PACKAGE_LEN.to_string())
                .arg("-o")
                .arg(&unfinished)
                .arg(self.url(mirror))
                .status()
                .context("curl")?;
            if !status.success() {
                bail!(
                    "{} {} is not on the mirror any more: run enclave-image/lock.sh, review the difference, or fill the cache from a \
                     release's inputs",
                    self.name,
                    self.version
                );
            }
            self.check(&unfinished)?;
            std::fs::rename(unfinished, &path)?;
        }
        self.check(&path)?;
        Ok(path)
    }

    fn url(&self, mirror: &str) -> String {
        let mirror = mirror.trim_end_matches('/');
        match self.archive {
            Archive::Debian => format!("{mirror}/{}", self.path),
            Archive::DebianSecurity => format!("{mirror}-security/{}", self.path),
        }
    }

    fn check(&self, path: &Path) -> anyhow::Result<()> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let digest = sha256(&bytes);
        ensure!(
            digest == self.sha256,
            "{} {}: the digest is {digest}, the lock says {}",
            self.name,
            self.version,
            self.sha256
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(name: &str, digest: &str) -> String {
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"1\"\narchive = \"debian\"\npath = \"pool/{name}.deb\"\nsha256 = \"{digest}\"\n"
        )
    }

    #[test]
    fn refuses_digests_paths_and_names_that_are_not_right() {
        let digest = "ab".repeat(32);
        let good = format!("epoch = 1\n{}", lock("a", &digest));
        assert_eq!(Lock::parse(&good).unwrap().package("a").unwrap().version, "1");
        assert!(Lock::parse(&good).unwrap().package("b").is_err());
        for bad in [
            good.replace(&digest, "ab"),
            good.replace("pool/", "../pool/"),
            good.replace("pool/", "pool/../"),
            good.replace("epoch = 1", "epoch = 1\nother = 2"),
            format!("{good}{}", lock("a", &digest)),
        ] {
            assert!(Lock::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_locks_are_of_one_time_and_name_no_package_twice() {
        let of = |epoch: u64, name: &str| {
            Lock::parse(&format!("epoch = {epoch}\n{}", lock(name, &"ab".repeat(32)))).unwrap()
        };
        let mut both = of(1, "a");
        both.add(of(1, "b")).unwrap();
        assert_eq!(both.package("b").unwrap().version, "1");
        assert!(both.add(of(1, "b")).unwrap_err().to_string().contains("twice"));
        assert!(both.add(of(2, "c")).unwrap_err().to_string().contains("epoch"));
    }

    #[test]
    fn the_shipped_locks_have_what_each_profile_is_made_of() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let has = |profile, name| Lock::of(&repository, profile).unwrap().package(name).is_ok();
        for profile in [Profile::Server, Profile::Small] {
            assert!(has(profile, "libc6") && !has(profile, "libcuda1"));
        }
        assert!(has(Profile::Gpu, "libc6") && has(Profile::Gpu, "libcuda1"));
    }

    #[test]
    fn a_package_with_other_bytes_is_refused_even_in_the_cache() {
        let cache = tempfile::tempdir().unwrap();
        let lock = Lock::parse(&format!("epoch = 1\n{}", lock("a", &sha256(b"right")))).unwrap();
        let package = lock.package("a").unwrap();
        assert!(package.fetch(cache.path(), None).is_err());
        std::fs::write(package.kept(cache.path()), b"right").unwrap();
        package.fetch(cache.path(), None).unwrap();
        std::fs::write(package.kept(cache.path()), b"wrong").unwrap();
        assert!(package.fetch(cache.path(), None).unwrap_err().to_string().contains("the lock says"));
    }

    #[test]
    fn security_updates_lie_beside_the_releases() {
        let mut package =
            Lock::parse(&format!("epoch = 1\n{}", lock("a", &"00".repeat(32)))).unwrap().packages.remove(0);
        assert_eq!(package.url("http://host/debian/"), "http://host/debian/pool/a.deb");
        package.archive = Archive::DebianSecurity;
        assert_eq!(package.url("http://host/debian"), "http://host/debian-security/pool/a.deb");
    }
}
