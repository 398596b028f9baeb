//! The network, by rtnetlink (`linux/rtnetlink.h`): addresses are those of the settings, nobody is asked.

use crate::settings::Network;
use anyhow::{Context as _, bail, ensure};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const ERROR: u16 = 2;
/// Request, and answer whether it was done.
const REQUEST_ACK: u16 = 1 | 4;
const CREATE: u16 = 0x400;
const EXCLUSIVE: u16 = 0x200;
const INET: u8 = 2;
const UP: u32 = 1;
const LOOPBACK: u32 = 1;
const HEADER_LEN: usize = 16;

/// Brings the loopback and the card up.
///
/// # Errors
/// There is no such card, or the kernel refuses an address.
pub(crate) fn up(network: &Network) -> anyhow::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let index = index(&network.interface)?;
    ask(&socket, &link_up(LOOPBACK)).context("the loopback")?;
    ask(&socket, &address(index, network)).context("network.address")?;
    ask(&socket, &link_up(index)).context("network.interface")?;
    match network.gateway {
        Some(gateway) => ask(&socket, &route(gateway)).context("network.gateway"),
        None => Ok(()),
    }
}

fn index(interface: &str) -> anyhow::Result<u32> {
    let path = Path::new("/sys/class/net").join(interface).join("ifindex");
    let text = std::fs::read_to_string(path).with_context(|| format!("there is no card {interface}"))?;
    text.trim().parse().context("the card's index")
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_LEN + body.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST_ACK | flags).to_ne_bytes());
    // Sequence number, and the kernel's own port.
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(body);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat()
}

/// `struct ifinfomsg`: family, type, index, flags, and which flags change.
fn link_up(index: u32) -> Vec<u8> {
    let body = [&[0; 4][..], &index.to_ne_bytes(), &UP.to_ne_bytes(), &UP.to_ne_bytes()].concat();
    message(NEW_LINK, 0, &body)
}

/// `struct ifaddrmsg` with `IFA_LOCAL` and `IFA_ADDRESS`.
fn address(index: u32, network: &Network) -> Vec<u8> {
    let own = network.address.octets();
    let head = [&[INET, network.prefix, 0, 0][..], &index.to_ne_bytes()].concat();
    message(NEW_ADDRESS, CREATE | EXCLUSIVE, &[head, attribute(2, &own), attribute(1, &own)].concat())
}

/// `struct rtmsg` of a default route with `RTA_GATEWAY`: the main table, set at boot, to anywhere, by a gateway.
fn route(gateway: Ipv4Addr) -> Vec<u8> {
    let head = vec![INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
    message(NEW_ROUTE, CREATE | EXCLUSIVE, &[head, attribute(5, &gateway.octets())].concat())
}

fn ask(socket: &OwnedFd, request: &[u8]) -> anyhow::Result<()> {
    sendto(socket, request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 4096];
    let (length, _) = recv(socket, &mut answer, RecvFlags::empty())?;
    acknowledged(answer.get(..length).unwrap_or_default())
}

/// `struct nlmsgerr`: zero, or a negative error number.
fn acknowledged(answer: &[u8]) -> anyhow::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    ensure!(kind == Some(ERROR), "the kernel answered something else");
    let error = answer.get(HEADER_LEN..HEADER_LEN + 4).and_then(|bytes| bytes.try_into().ok());
    match error.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => bail!(std::io::Error::from_raw_os_error(code.saturating_neg())),
        None => bail!("the kernel's answer is too short"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        Network { interface: "eth0".into(), address: Ipv4Addr::new(10, 0, 2, 15), prefix: 24, gateway: None }
    }

    #[test]
    fn messages_have_the_kernels_layout() {
        for (message, kind, length) in [
            (link_up(2), NEW_LINK, 32),
            (address(2, &network()), NEW_ADDRESS, 40),
            (route(Ipv4Addr::LOCALHOST), NEW_ROUTE, 36),
        ] {
            assert_eq!(message.len(), length);
            assert_eq!(message[..4], u32::try_from(length).unwrap().to_ne_bytes());
            assert_eq!(message[4..6], kind.to_ne_bytes());
        }
        assert_eq!(address(7, &network())[16..24], [2, 24, 0, 0, 7, 0, 0, 0]);
    }

    #[test]
    fn an_answer_is_yes_or_an_error() {
        let answer = |kind: u16, code: i32| {
            let mut bytes = vec![0; 36];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[16..20].copy_from_slice(&code.to_ne_bytes());
            bytes
        };
        acknowledged(&answer(ERROR, 0)).unwrap();
        assert!(acknowledged(&answer(ERROR, -17)).unwrap_err().to_string().contains("exists"));
        assert!(acknowledged(&answer(ERROR, i32::MIN)).is_err());
        assert!(acknowledged(&answer(3, 0)).is_err());
        assert!(acknowledged(&answer(ERROR, 0)[..18]).is_err());
        assert!(acknowledged(&[]).is_err());
    }
}
