//! The root disk as the measured command line names it.

use anyhow::{Context as _, bail, ensure};

/// The parameter: `anchorhold.root=BLOCKS:SALT:HASH`, the last two in lowercase hex.
pub(crate) const PARAMETER: &str = "anchorhold.root=";
const HEX: &[u8] = b"0123456789abcdef";
/// The most blocks of data, 16 GiB.
const MAX_BLOCKS: u64 = 4 << 20;
/// A SHA-256 digest in hex.
const DIGEST_HEX_LEN: usize = 64;

/// What dm-verity is told. The hash tree follows the data on the same disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    /// Blocks of 4,096 bytes with data.
    pub(crate) blocks: u64,
    /// Hex.
    pub(crate) salt: String,
    /// Hex.
    pub(crate) hash: String,
}

impl Root {
    /// Reads the one parameter of a kernel command line.
    ///
    /// # Errors
    /// It is missing, stands twice, or does not have its form.
    pub(crate) fn parse(cmdline: &str) -> anyhow::Result<Self> {
        let mut found = cmdline.split_ascii_whitespace().filter_map(|word| word.strip_prefix(PARAMETER));
        let value = found.next().context("the command line names no root")?;
        ensure!(found.next().is_none(), "the command line names two roots");
        let mut parts = value.split(':');
        let (Some(blocks), Some(salt), Some(hash), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            bail!("{PARAMETER} has not three parts")
        };
        ensure!(
            !blocks.is_empty() && blocks.len() <= 7 && blocks.bytes().all(|b| b.is_ascii_digit()),
            "the root's size is not a number of blocks"
        );
        let blocks: u64 = blocks.parse().context("the root's size")?;
        ensure!((1..=MAX_BLOCKS).contains(&blocks), "a root of {blocks} blocks, wanted 1 to {MAX_BLOCKS}");
        for (name, text) in [("salt", salt), ("hash", hash)] {
            ensure!(
                text.len() == DIGEST_HEX_LEN && text.bytes().all(|b| HEX.contains(&b)),
                "the root's {name} is not {DIGEST_HEX_LEN} lowercase hex digits"
            );
        }
        Ok(Self { blocks, salt: salt.to_owned(), hash: hash.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(blocks: &str, salt: &str, hash: &str) -> String {
        format!("console=ttyS0 {PARAMETER}{blocks}:{salt}:{hash} panic=-1\n")
    }

    #[test]
    fn reads_blocks_salt_and_hash() {
        let (salt, hash) = ("0a".repeat(32), "f9".repeat(32));
        let root = Root::parse(&line("7000", &salt, &hash)).unwrap();
        assert_eq!(root, Root { blocks: 7000, salt, hash });
    }

    #[test]
    fn refuses_a_root_that_is_missing_double_or_malformed() {
        let digest = "ab".repeat(32);
        let good = line("1", &digest, &digest);
        assert!(Root::parse("console=ttyS0").is_err());
        assert!(Root::parse(&(good.clone() + &good)).is_err());
        for (blocks, salt, hash) in [
            ("0", digest.as_str(), digest.as_str()),
            ("-1", &digest, &digest),
            ("+1", &digest, &digest),
            ("", &digest, &digest),
            ("99999999999999999999", &digest, &digest),
            ("9999999", &digest, &digest),
            ("1", "ab", &digest),
            ("1", &digest, &digest.to_uppercase()),
            ("1", &digest, &format!("{digest}:")),
            ("1", "-", &digest),
        ] {
            assert!(Root::parse(&line(blocks, salt, hash)).is_err(), "{blocks} {salt} {hash}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_what_it_reads_is_in_its_limits(text in ".{0,300}", value in "[0-9a-f:]{0,140}") {
            for text in [text, format!("{PARAMETER}{value}")] {
                if let Ok(root) = Root::parse(&text) {
                    prop_assert!(root.blocks >= 1 && root.blocks <= MAX_BLOCKS);
                    prop_assert_eq!(root.hash.len(), DIGEST_HEX_LEN);
                }
            }
        }
    }
}
