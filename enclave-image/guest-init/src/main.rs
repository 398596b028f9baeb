//! `anchorhold-guest-init`: the first process of a guest.
//!
//! It runs twice. From the initrd it puts the root disk under dm-verity with the root hash of the measured command line, loads the SELinux
//! policy and executes itself from that root ([`boot`]). From the root it sets up the network and memory file systems, closes what only a
//! boot needs, checks that everything it relies on is really in force, and starts the keeper ([`serve`]). When the keeper ends, the guest
//! is switched off.
//!
//! There is no shell and no login, and nothing here reads what a host can choose but a handful of values that are checked:
//! what is mounted is named by the measured command line, and the settings are part of the measured initrd.
//!
//! `unsafe` is in [`dm`] alone.

mod boot;
mod check;
mod cmdline;
mod console;
mod dm;
mod entropy;
mod flavour;
mod gpu;
mod groups;
mod handout;
mod modules;
mod network;
mod selinux;
mod serve;
mod settings;
mod sysctl;

use rustix::system::{RebootCommand, reboot};
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        console::complain("anchorhold-guest-init is the first process of a guest and runs nowhere else");
        return ExitCode::FAILURE;
    }
    let second = std::env::args_os().nth(1).is_some_and(|argument| argument == boot::SECOND_STAGE);
    let outcome = if second { serve::run() } else { boot::run() };
    if let Err(error) = outcome {
        console::complain(&format!("guest-init: error: {error:#}"));
    }
    rustix::fs::sync();
    // A first process that returns makes the kernel panic, which ends the guest as well.
    let _ = reboot(RebootCommand::PowerOff);
    ExitCode::FAILURE
}
