//! A key broker with a state of its own.

use crate::owner::Sealed;
use crate::process::{Process, Programs};
use anyhow::Context as _;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const START: Duration = Duration::from_secs(30);

/// Which of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roots {
    /// AMD's roots, fixed in the program.
    Production,
    /// The software attester's root.
    Simulated,
}

impl Roots {
    const fn program(self) -> &'static str {
        match self {
            Self::Production => "anchorhold-key-broker",
            Self::Simulated => "anchorhold-key-broker-simulated",
        }
    }
}

/// A broker; it serves while [`serve`](Self::serve)'s process lives.
#[derive(Debug)]
pub struct Broker {
    programs: Programs,
    /// Which program serves.
    pub roots: Roots,
    /// Its folder.
    pub state: PathBuf,
    /// Its public keys.
    pub keys: BrokerKeys,
    process: Option<Process>,
    /// Environment variables that it is started with besides its own.
    pub environment: Vec<(String, String)>,
    /// Where it listens; before the first start a free port is taken.
    pub address: Option<String>,
}

/// What `init` prints.
#[derive(Debug, Clone, Deserialize)]
pub struct BrokerKeys {
    /// Signs answers, hex.
    pub signing_key: String,
    /// Owners wrap weights keys to it, hex.
    pub import_key: String,
    /// Verifies its audit log: name, id and key.
    pub log_key: String,
    /// Verifies its cosignatures as a witness of guests' logs.
    pub witness_key: String,
    /// Its TLS certificate, PEM.
    pub tls_certificate: PathBuf,
    /// The keys of its tokens, a JSON web key set.
    pub token_keys: serde_json::Value,
}

impl Broker {
    /// A broker with a fresh state in `state`, whose policies one signer signs.
    pub fn init(programs: &Programs, roots: Roots, state: &Path) -> anyhow::Result<Self> {
        let signer = programs.run("anchorhold", &[&"owner", &"new", &state.with_extension("signer.key")])?;
        let set = format!(
            "signers = \"demo\"\nversion = 1\nthreshold = 1\n[[signer]]\nname = \"one\"\nkey = \"{}\"\n",
            signer.trim()
        );
        let signers = state.with_extension("signers.toml");
        std::fs::write(&signers, set)?;
        let printed =
            programs.run(roots.program(), &[&"init", &"--state", &state, &"--signers", &signers])?;
        let keys = serde_json::from_str(&printed).with_context(|| printed.clone())?;
        Ok(Self {
            programs: programs.clone(),
            roots,
            state: state.to_owned(),
            keys,
            process: None,
            environment: Vec::new(),
            address: None,
        })
    }

    fn tell(&self, command: &str, file: &Path) -> anyhow::Result<String> {
        self.programs.run(self.roots.program(), &[&command, &"--state", &self.state, &file])
    }

    /// Takes the key of a sealed package.
    pub fn import(&self, sealed: &Sealed) -> anyhow::Result<()> {
        self.tell("import", &sealed.import).map(|_| ())
    }

    /// Signs a policy and puts it in force in the place of the one that is.
    pub fn set_policy(&self, toml: &str) -> anyhow::Result<()> {
        let file = |extension| self.state.with_extension(extension);
        std::fs::write(file("policy.toml"), toml)?;
        let signed = file("policy.dsse");
        let status = self.programs.run(self.roots.program(), &[&"status", &"--state", &self.state])?;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        let replaces = status["policy"][2].as_str().unwrap_or("none");
        // The program makes no file twice.
        let _ = std::fs::remove_file(&signed);
        self.programs.run(
            "anchorhold",
            &[&"policy", &"sign", &"--key", &file("signer.key"), &"--out", &signed, &file("policy.toml")],
        )?;
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 6] =
            [&"policy", &"--state", &self.state, &signed, &"--replaces", &replaces];
        self.programs.run(self.roots.program(), &arguments).map(|_| ())
    }

    /// Serves, on the same port as before if it has served before.
    pub fn serve(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(self.programs.path(self.roots.program()));
        let listen = self.address.clone().unwrap_or_else(|| "127.0.0.1:0".to_owned());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(["serve", "--print-ready", "--listen", &listen, "--state"]).arg(&self.state);
        let process = Process::start(command, &self.state.with_extension("stderr"))?;
        let line = process.line(START)?.with_context(|| process.stderr_text())?;
        let ready: serde_json::Value = serde_json::from_str(&line)?;
        self.address = Some(ready["listening"].as_str().context("no address")?.to_owned());
        self.process = Some(process);
        Ok(())
    }

    /// Chooses where it will serve, for guests whose settings are measured before it does.
    pub fn listen_on(&mut self, address: std::net::SocketAddr) {
        self.address = Some(address.to_string());
    }

    /// Kills it with SIGKILL; its state stays.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Revokes at once.
    pub fn revoke(&self, kind: &str, name: &str) -> anyhow::Result<()> {
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 5] = [&"revoke", &"--state", &self.state, &kind, &name];
        self.programs.run(self.roots.program(), &arguments).map(|_| ())
    }

    /// Keeps a resource for guests that speak the KBS protocol.
    pub fn add_resource(&self, name: &str, file: &Path) -> anyhow::Result<()> {
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 6] =
            [&"resource", &"add", &"--state", &self.state, &name, &file];
        self.programs.run(self.roots.program(), &arguments).map(|_| ())
    }

    /// The entries of its audit log.
    pub fn entries(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let lines = self.programs.run(self.roots.program(), &[&"log", &"--state", &self.state])?;
        serde_json::Deserializer::from_str(&lines).into_iter().map(|entry| Ok(entry?)).collect()
    }

    /// Writes its audit log as an evidence bundle.
    pub fn export_log(&self, out: &Path) -> anyhow::Result<()> {
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 5] = [&"log", &"--state", &self.state, &"--out", &out];
        self.programs.run(self.roots.program(), &arguments).map(|_| ())
    }

    /// Its process id, while it serves.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// `https://host:port`.
    pub fn url(&self) -> anyhow::Result<String> {
        Ok(format!("https://{}", self.address.as_ref().context("the broker does not serve")?))
    }
}
