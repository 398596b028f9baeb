//! `anchorhold-fetcher`: fetches one sealed package, hands its files to the keeper and ends.
//!
//! A process of its own, because what speaks to a store parses what a hostile host sends, and needs many crates for it, while the
//! keeper holds weights keys. The fetcher holds none: it sees ciphertext, the public manifest and the access key of the store. It
//! reaches the cache, the names of hosts and the network, and can listen to nobody.
//!
//! Standard input is the keeper's line. Exit codes: 0 after the package or a refusal was told, 1 when it could not start.

mod order;

use anchorhold_confine::{Reach, Role};
use anchorhold_ipc::{Confinement, FromFetcher, KEEPER_LINE, Line, ToFetcher, inherited};
use anyhow::Context as _;
use clap::Parser;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// The fetcher of an Anchorhold guest; the keeper starts it.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The folder of fetched packages.
    #[arg(long, value_name = "DIR")]
    cache: PathBuf,
    /// A folder that is itself a store, for file:// addresses.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

fn main() -> ExitCode {
    match live(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a place to write to, the end of the line still tells the keeper.
            let _ = writeln!(std::io::stderr(), "anchorhold-fetcher: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn live(arguments: &Arguments) -> anyhow::Result<()> {
    let line = inherited(KEEPER_LINE).context("standard input is not the keeper's line")?;
    let mut line: Line<FromFetcher, ToFetcher> = Line::new(line);
    // No thread was made yet, so all of them are held.
    let starting = anchorhold_confine::enter(&Role::Fetcher(reach(arguments))).context("confinement")?;
    // Its threads wait for work; with them, what only the start needs is over.
    let runtime = tokio::runtime::Runtime::new()?;
    let layers = starting.serve().context("confinement")?;
    let active = layers.active.into_iter().map(str::to_owned).collect();
    line.send(&FromFetcher::Confined(Confinement { active, missing: layers.missing }), &[])?;
    let (ToFetcher::Fetch(wanted), _) = line.receive().context("no order came")?;
    let (writer, _) = line.split();
    let told = runtime.block_on(order::carry_out(&wanted, &arguments.cache, writer));
    // What still writes a segment is not waited for: it is verified, and the next fetch finds it or fetches it again.
    runtime.shutdown_background();
    Ok(told?)
}

/// The cache, a store that is a folder, and what the resolution of names reads. Nothing can be run.
fn reach(arguments: &Arguments) -> Reach {
    const NAMES: [&str; 9] = [
        "/etc/hosts",
        "/etc/resolv.conf",
        "/etc/nsswitch.conf",
        "/etc/host.conf",
        "/etc/ld.so.cache",
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
    ];
    let mut read: Vec<PathBuf> = NAMES.iter().map(PathBuf::from).filter(|path| path.exists()).collect();
    read.extend(arguments.store.clone());
    Reach { read, execute: Vec::new(), write: vec![arguments.cache.clone()] }
}
