//! Which of the three images this is. Each has another root, so another measurement.

use anyhow::{Context as _, bail};
use std::path::Path;

/// Where the builder writes it, in the initrd and in the root.
pub(crate) const FILE: &str = "usr/lib/anchorhold/flavour";

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Says nothing after the boot; refuses a simulated attester.
    Production,
    /// Tells the stages of the start and what the keeper says.
    Debug,
    /// As debug, and with the simulated attester, whose launch digest the host gives.
    Demo,
}

impl Flavour {
    /// Reads it below `root`.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let path = root.join(FILE);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        match text {
            "production\n" => Ok(Self::Production),
            "debug\n" => Ok(Self::Debug),
            "demo\n" => Ok(Self::Demo),
            _ => bail!("{FILE} names no flavour of image"),
        }
    }

    /// Whether the start may be told on a serial port, which the host reads.
    pub(crate) const fn tells_stages(self) -> bool {
        !matches!(self, Self::Production)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_three_and_refuses_everything_else() {
        assert_eq!(Flavour::parse("production\n").unwrap(), Flavour::Production);
        assert!(!Flavour::Production.tells_stages());
        assert!(Flavour::parse("debug\n").unwrap().tells_stages());
        assert_eq!(Flavour::parse("demo\n").unwrap(), Flavour::Demo);
        for other in ["", "production", "Demo\n", "demo\n\n", "production\ndemo\n"] {
            assert!(Flavour::parse(other).is_err(), "{other:?}");
        }
    }
}
