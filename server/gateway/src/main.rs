//! Starts the gateway: settings, key, port, confinement, then requests. Started by the keeper, with the keeper's line
//! as descriptor 3.
//!
//! Exit codes: 0 after a drain, 1 when it could not start.

use anchorhold_channel::server::{self, serve};
use anchorhold_channel::tls::SelfSigned;
use anchorhold_confine::{Role, enter};
use anchorhold_gateway::{Config, Gateway, init_log};
use anchorhold_ipc::{Confinement, FromGateway, Line, ToGateway, inherited};
use anyhow::Context as _;
use clap::Parser;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The descriptor on which the keeper left its line.
const KEEPER: i32 = 3;
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
    let line = inherited(KEEPER).context("descriptor 3 is not the keeper's line")?;
    let mut line: Line<FromGateway, ToGateway> = Line::new(line);
    let own = SelfSigned::generate(&config.names).context("names")?;
    std::fs::write(&config.certificate, own.certificate_pem())
        .with_context(|| format!("certificate {}", config.certificate.display()))?;
    let listener =
        TcpListener::bind(config.listen).with_context(|| format!("listen on {}", config.listen))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?.to_string();
    let tls_key = *own.tls_key.as_bytes();
    let tls = own.into_server_config()?;

    // From here on there are no files and no new kinds of socket. No thread was made yet, so all of them are held.
    let layers = enter(&Role::Gateway).context("confinement")?;
    let active = layers.active.iter().map(ToString::to_string).collect();
    let confinement = Confinement { active, missing: layers.missing };
    line.send(&FromGateway::Hello { tls_key, confinement }, &[])?;
    line.send(&FromGateway::Listening { address }, &[])?;

    let drain = config.limits.drain;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let gateway = Gateway::start(config, line)?;
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

fn read_config(arguments: &Arguments) -> anyhow::Result<Config> {
    let place = || format!("settings {}", arguments.config.display());
    let bytes = std::fs::metadata(&arguments.config).with_context(place)?.len();
    anyhow::ensure!(bytes <= MAX_CONFIG_BYTES, "{}: {bytes} bytes, the limit is {MAX_CONFIG_BYTES}", place());
    let text = std::fs::read_to_string(&arguments.config).with_context(place)?;
    Config::parse(&text).with_context(place)
}
