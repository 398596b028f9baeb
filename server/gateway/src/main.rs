//! Starts the gateway: settings, key, port, confinement, then requests. Started by the keeper, with the keeper's line
//! as standard input. The port is bound at once, so that a taken one is noticed, and opened when the keeper says that
//! every model is loaded.
//!
//! Exit codes: 0 after a drain, 1 when it could not start.

use anchorhold_api_keys::MAX_FILE_BYTES;
use anchorhold_channel::server::{self, serve};
use anchorhold_channel::tls::SelfSigned;
use anchorhold_confine::{Role, SERVING, Starting, enter};
use anchorhold_gateway::{
    BodyKeys, Clients, Config, Files, Gateway, Opening, Overrides, Written, init_log, shown,
};
use anchorhold_ipc::{Confinement, FromGateway, KEEPER_LINE, Line, ToGateway, inherited};
use anyhow::Context as _;
use clap::Parser;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// The most bytes of the settings file.
const MAX_CONFIG_BYTES: usize = 1024 * 1024;
/// What is left after the drain for answers that are not whole to be told so and logged.
const LAST_EVENTS: Duration = Duration::from_secs(5);
/// What is left after that for the last message to the keeper.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The gateway of an Anchorhold guest; the keeper starts it.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The settings, TOML.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Set a key of the settings, such as limits.body_bytes=1048576; wins over ANCHORHOLD_GATEWAY_LIMITS__BODY_BYTES, which
    /// wins over the file.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Say what is wrong with the settings and end: with 0 if nothing is, and with 2.
    #[arg(long)]
    check_config: bool,
    /// Print the settings as they would be in force, without comments and digests, and end.
    #[arg(long)]
    print_config: bool,
}

/// The exit code when settings are refused by `--check-config` or `--print-config`.
const REFUSED: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    init_log();
    let looks = arguments.check_config || arguments.print_config;
    let outcome = if looks { look(&arguments) } else { start(&arguments) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reads the reason if stderr is closed.
            let _ = writeln!(std::io::stderr(), "anchorhold-gateway: error: {error:#}");
            if looks { ExitCode::from(REFUSED) } else { ExitCode::FAILURE }
        }
    }
}

/// Checks the settings, and prints them if that is asked for.
fn look(arguments: &Arguments) -> anyhow::Result<()> {
    let overrides = overrides(arguments)?;
    read_config(&arguments.config, &overrides)?;
    if arguments.print_config {
        let text = overrides.apply(&read(&arguments.config, MAX_CONFIG_BYTES)?)?;
        std::io::stdout().write_all(shown(&text)?.as_bytes())?;
    }
    Ok(())
}

fn overrides(arguments: &Arguments) -> anyhow::Result<Overrides> {
    let texts =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    // The keeper gives us these variables alone.
    Ok(Overrides::new(std::env::vars_os().filter_map(texts), &arguments.set)?)
}

fn start(arguments: &Arguments) -> anyhow::Result<()> {
    let overrides = overrides(arguments)?;
    let config = read_config(&arguments.config, &overrides)?;
    let line = inherited(KEEPER_LINE).context("standard input is not the keeper's line")?;
    let mut line: Line<FromGateway, ToGateway> = Line::new(line);
    let own = SelfSigned::generate(&config.names).context("names")?;
    // Written now, or when there is a document to put into it: then there are no files any more, but this one is open.
    let place = || format!("certificate {}", config.certificate.display());
    let mut certificate = File::create(&config.certificate).with_context(place)?;
    if !config.certificate_evidence {
        certificate.write_all(own.certificate_pem().as_bytes()).with_context(place)?;
    }
    let listener = bind(config.listen).with_context(|| format!("listen on {}", config.listen))?;
    let bound = listener.local_addr()?;
    let address = bound.to_string();
    let tls_key = *own.tls_key.as_bytes();

    // From here on there are no files and no new kinds of socket. No thread was made yet, so all of them are held.
    let starting = enter(&Role::Gateway).context("confinement")?;
    let layers = starting.layers();
    let active = layers.active.iter().map(ToString::to_string).collect();
    let confinement = Confinement { active, missing: layers.missing.clone() };
    let layer_counts = (confinement.active.len(), confinement.missing.len());
    let body_keys = BodyKeys::generate().context("the system gives no randomness")?;
    let named = body_keys.public().map(ToString::to_string).collect();
    line.send(&FromGateway::Hello { tls_key, body_keys: named, confinement }, &[])?;
    let (mut opening, document) = opening(&mut line, (body_keys, layer_counts, bound.port()))?;
    let own = if config.certificate_evidence {
        let own = own.with_document(&document).context("a certificate with the attestation document")?;
        certificate.write_all(own.certificate_pem().as_bytes()).with_context(place)?;
        own
    } else {
        own
    };
    drop(certificate);
    let tls = own.into_mutual_server_config(config.clients.as_ref().map(Clients::authorities))?;
    rustix::net::listen(&listener, BACKLOG).with_context(|| format!("listen on {address}"))?;
    let (drain, write_timeout) = (config.limits.drain, config.limits.stalled);
    let runtime = tokio::runtime::Runtime::new()?;
    // Before anybody is told that we listen: a hangup, which is for the keeper with its files, would end the process until then.
    let (mut terminate, mut interrupt, _hangups) = {
        let _entered = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?)
    };
    settle(starting, &mut opening)?;
    line.send(&FromGateway::Listening { address, drain_s: u32::try_from(drain.as_secs())? }, &[])?;

    runtime.block_on(async {
        let gateway = Gateway::start((config, overrides), line, opening)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let stop = async {
            tokio::select! {
                () = gateway.draining() => {}
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            gateway.drain();
        };
        let limits =
            server::Limits { drain: drain + LAST_EVENTS, write_timeout, ..server::Limits::default() };
        let end = async {
            gateway.draining().await;
            tokio::time::sleep(drain).await;
            gateway.end();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = serve(listener, tls, gateway.router(), limits, stop) => {}
            () = end => {}
        }
        gateway.drained().await;
        anyhow::Ok(())
    })?;
    runtime.shutdown_timeout(LAST_WORDS);
    Ok(())
}

/// Every thread of the runtime is there: what only the start needed is over, before anybody is answered.
fn settle(starting: Starting, opening: &mut Opening) -> anyhow::Result<()> {
    starting.serve().context("confinement")?;
    opening.guest.holds("gateway", SERVING);
    opening.layers.0 += 1;
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

/// Collects workers until the keeper says that the port may open, and gives a document for the certificate with it.
fn opening(
    line: &mut Line<FromGateway, ToGateway>,
    (body_keys, layers, port): (BodyKeys, (usize, usize), u16),
) -> anyhow::Result<(Opening, Vec<u8>)> {
    let mut workers = Vec::new();
    loop {
        let (message, mut descriptors) = line.receive().context("waiting for the first models")?;
        match message {
            ToGateway::Listen { authenticator_certificate, guest, document } => {
                let guest = *guest;
                let opening = Opening { workers, authenticator_certificate, body_keys, guest, layers, port };
                return Ok((opening, document));
            }
            ToGateway::WorkerReady(info) => {
                let socket = descriptors.pop().context("a worker came without its line")?;
                workers.push((info, socket));
            }
            _ => anyhow::bail!("the keeper said something else before the port was open"),
        }
    }
}

fn read_config(path: &Path, overrides: &Overrides) -> anyhow::Result<Config> {
    let place = || format!("settings {}", path.display());
    let text = overrides.apply(&read(path, MAX_CONFIG_BYTES)?).with_context(place)?;
    let written = Written::parse(&text).with_context(place)?;
    let folder = std::path::absolute(path)?.with_file_name("");
    let files = written.files().map(|file| Ok((file.to_owned(), read(&folder.join(file), MAX_FILE_BYTES)?)));
    let files = files.collect::<anyhow::Result<Files>>()?;
    written.check(&files).with_context(place)
}

fn read(path: &Path, max_bytes: usize) -> anyhow::Result<String> {
    let place = || path.display().to_string();
    let mut text = String::new();
    let limit = u64::try_from(max_bytes)?.saturating_add(1);
    File::open(path).with_context(place)?.take(limit).read_to_string(&mut text).with_context(place)?;
    anyhow::ensure!(text.len() <= max_bytes, "{}: over the limit of {max_bytes} bytes", place());
    Ok(text)
}
