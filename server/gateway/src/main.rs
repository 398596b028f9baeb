//! Starts the gateway: settings, key, port, confinement, then requests. Started by the keeper, with the keeper's line
//! as standard input. The port is bound at once, so that a taken one is noticed, and opened when the keeper says that
//! every model is loaded.
//!
//! Exit codes: 0 after a drain, 1 when it could not start.

use anchorhold_channel::server::{self, serve};
use anchorhold_channel::tls::SelfSigned;
use anchorhold_confine::{Role, enter};
use anchorhold_gateway::{Config, Gateway, Opened, init_log};
use anchorhold_ipc::{Confinement, FromGateway, KEEPER_LINE, Line, ModelInfo, ToGateway, inherited};
use anyhow::Context as _;
use clap::Parser;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// The most bytes of the settings file.
const MAX_CONFIG_BYTES: u64 = 1024 * 1024;
/// What is left after the drain for the last message to the keeper.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The gateway of an Anchorhold guest; the keeper starts it.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The settings, TOML.
    #[arg(long)]
    config: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    init_log();
    match start(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reads the reason if stderr is closed.
            let _ = writeln!(std::io::stderr(), "anchorhold-gateway: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> anyhow::Result<()> {
    let config = read_config(arguments)?;
    let line = inherited(KEEPER_LINE).context("standard input is not the keeper's line")?;
    let mut line: Line<FromGateway, ToGateway> = Line::new(line);
    let own = SelfSigned::generate(&config.names).context("names")?;
    std::fs::write(&config.certificate, own.certificate_pem())
        .with_context(|| format!("certificate {}", config.certificate.display()))?;
    let listener = bind(config.listen).with_context(|| format!("listen on {}", config.listen))?;
    let address = listener.local_addr()?.to_string();
    let tls_key = *own.tls_key.as_bytes();
    let tls = own.into_server_config()?;

    // From here on there are no files and no new kinds of socket. No thread was made yet, so all of them are held.
    let layers = enter(&Role::Gateway).context("confinement")?;
    let active = layers.active.iter().map(ToString::to_string).collect();
    let confinement = Confinement { active, missing: layers.missing };
    line.send(&FromGateway::Hello { tls_key, body_keys: Vec::new(), confinement }, &[])?;
    let (workers, opened) = opening(&mut line)?;
    rustix::net::listen(&listener, BACKLOG).with_context(|| format!("listen on {address}"))?;
    line.send(&FromGateway::Listening { address }, &[])?;

    let drain = config.limits.drain;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let gateway = Gateway::start(config, line, workers, opened)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async {
            tokio::select! {
                () = gateway.draining() => {}
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            gateway.drain();
        };
        let limits = server::Limits { drain, ..server::Limits::default() };
        serve(listener, tls, gateway.router(), limits, stop).await;
        gateway.drained().await;
        anyhow::Ok(())
    })?;
    runtime.shutdown_timeout(LAST_WORDS);
    Ok(())
}

/// Takes the address without listening on it: until then a connection is refused by the system.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket.into())
}

/// Collects workers until the keeper says that the port may open.
fn opening(line: &mut Line<FromGateway, ToGateway>) -> anyhow::Result<(Vec<(ModelInfo, OwnedFd)>, Opened)> {
    let mut workers = Vec::new();
    loop {
        let (message, mut descriptors) = line.receive().context("waiting for the first models")?;
        match message {
            ToGateway::Listen { authenticator_certificate, guest } => {
                return Ok((workers, Opened { authenticator_certificate, guest: *guest }));
            }
            ToGateway::WorkerReady(info) => {
                let socket = descriptors.pop().context("a worker came without its line")?;
                workers.push((info, socket));
            }
            _ => anyhow::bail!("the keeper said something else before the port was open"),
        }
    }
}

fn read_config(arguments: &Arguments) -> anyhow::Result<Config> {
    let place = || format!("settings {}", arguments.config.display());
    let bytes = std::fs::metadata(&arguments.config).with_context(place)?.len();
    anyhow::ensure!(bytes <= MAX_CONFIG_BYTES, "{}: {bytes} bytes, the limit is {MAX_CONFIG_BYTES}", place());
    let text = std::fs::read_to_string(&arguments.config).with_context(place)?;
    Config::parse(&text).with_context(place)
}
