//! The settings of a deployment, `guest.toml`. They come in a part of the initrd of their own, so the platform measures them.

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use std::net::Ipv4Addr;
use std::path::Path;

/// Where the initrd has them.
pub(crate) const IN_INITRD: &str = "/settings";
/// Where the root has them, without the first slash.
pub(crate) const FOLDER: &str = "etc/anchorhold";
/// What this program reads of them.
pub(crate) const FILE: &str = "/etc/anchorhold/guest.toml";
/// What the keeper reads of them.
pub(crate) const KEEPER: &str = "/etc/anchorhold/keeper.toml";
const MAX_LEN: usize = 64 * 1024;

/// What the file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) network: Network,
    pub(crate) memory: Memory,
}

/// The one network card. Addresses are fixed: what a DHCP server says, the host says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    /// Such as `eth0`.
    pub(crate) interface: String,
    pub(crate) address: Ipv4Addr,
    /// Bits of the network's part of the address.
    pub(crate) prefix: u8,
    /// Where everything beyond the network goes; nowhere if it is not written.
    pub(crate) gateway: Option<Ipv4Addr>,
}

/// Memory, in MiB. What is not given to the keeper and its children stays with the kernel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    /// The most that the audit log and the cache of packages may take; they lie in memory.
    pub(crate) state_mib: u32,
    /// The most that keeper, gateway and workers may take together, their part of the state included.
    pub(crate) serving_mib: u32,
    /// The most threads and processes of theirs.
    pub(crate) pids: u32,
}

impl Settings {
    /// Reads the file of the running guest.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(Path::new(FILE)).context(FILE)?;
        Self::parse(&text).context(FILE)
    }

    /// # Errors
    /// An unknown or missing key, or a value out of its limits.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        ensure!(text.len() <= MAX_LEN, "longer than {MAX_LEN} bytes");
        let settings: Self = toml::from_str(text)?;
        let Network { interface, prefix, address, .. } = &settings.network;
        let is_name = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        ensure!(
            (1..=15).contains(&interface.len()) && interface.bytes().all(is_name),
            "network.interface is not the name of a card"
        );
        ensure!((1..=32).contains(prefix), "network.prefix is {prefix}, wanted 1 to 32");
        ensure!(!address.is_unspecified() && !address.is_multicast(), "network.address is no host's");
        let Memory { state_mib, serving_mib, pids } = settings.memory;
        ensure!(
            (8..=1 << 20).contains(&state_mib),
            "memory.state_mib is {state_mib}, wanted 8 to {}",
            1 << 20
        );
        ensure!(
            (64..=1 << 24).contains(&serving_mib),
            "memory.serving_mib is {serving_mib}, wanted 64 to {}",
            1 << 24
        );
        ensure!((64..=1 << 16).contains(&pids), "memory.pids is {pids}, wanted 64 to {}", 1 << 16);
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[network]\ninterface = \"eth0\"\naddress = \"10.0.2.15\"\nprefix = 24\ngateway = \"10.0.2.2\"\n\
                        [memory]\nstate_mib = 128\nserving_mib = 512\npids = 512\n";

    #[test]
    fn reads_what_is_right_and_refuses_what_is_not() {
        let settings = Settings::parse(GOOD).unwrap();
        assert_eq!(settings.network.gateway, Some(Ipv4Addr::new(10, 0, 2, 2)));
        for (from, to) in [
            ("prefix = 24", "prefix = 33"),
            ("prefix = 24", "prefix = 24\nshell = true"),
            ("eth0", "eth0/../x"),
            ("eth0", ""),
            ("10.0.2.15", "0.0.0.0"),
            ("10.0.2.15", "example.org"),
            ("state_mib = 128", "state_mib = 0"),
            ("serving_mib = 512", "serving_mib = 4294967295"),
            ("pids = 512", "pids = 1"),
            ("pids = 512", ""),
        ] {
            assert!(Settings::parse(&GOOD.replacen(from, to, 1)).is_err(), "{to}");
        }
        assert!(Settings::parse(&format!("{GOOD}#{}", "x".repeat(MAX_LEN))).is_err());
    }
}
