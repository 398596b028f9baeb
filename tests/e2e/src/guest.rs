//! A simulated guest: settings, the keeper's process, and what it tells.

use crate::broker::Broker;
use crate::owner::{Owner, Sealed};
use crate::process::{Process, Programs};
use anchorhold_audit_log::{LogPlace, ReadingKey, export_jsonl, read_key_copies};
use anchorhold_log_key::{KeyCopies, ReaderKey};
use anchorhold_rats::{Kem, Secret, Sha256Digest};
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// How long one stage of the start may take.
const STAGE: Duration = Duration::from_secs(120);
const TOKEN_KEYS: &str = "token-keys.json";

fn quoted(path: &Path) -> String {
    Value::from(path.to_string_lossy().into_owned()).to_string()
}

/// What a guest is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the keeper finds the broker.
    pub broker_url: String,
    /// The certificate that the broker must hold, PEM.
    pub broker_certificate: PathBuf,
    /// The key that must sign the broker's answers, hex.
    pub broker_signing_key: String,
    /// The verifier key of the broker's log.
    pub broker_log_key: String,
    /// The key of the broker's cosignatures.
    pub broker_witness_key: String,
    /// Whether the broker witnesses the guest's log, and after how many seconds without it that is logged and nothing new is served.
    pub witnessed: Option<(u32, u32)>,
    /// Who may read whom entries are about; nothing of that is recorded where nobody may.
    pub privacy_recipient: Option<String>,
    /// Whether the broker is asked over the KBS protocol instead of its own.
    pub over_kbs: Option<OverKbs>,
    /// The owner of the models, hex.
    pub owner_key: String,
    /// Each model: id, package, lowest version.
    pub models: Vec<(String, PathBuf, u64)>,
    /// Whether the simulated guest policy allows debugging.
    pub debug: bool,
    /// SEV-SNP report version, 3 or 5.
    pub report_version: u8,
    /// Where a guest in a virtual machine has the launch digest that its host computed; of the programs that run if there is none.
    pub launch_digest_file: Option<PathBuf>,
    /// Intel's collateral for a guest that is a simulated TD, JSON; it is a simulated SEV-SNP guest if there is none.
    pub tdx_collateral: Option<PathBuf>,
    /// The keeper's `[gpus]`, TOML; it has none if there are none.
    pub gpus: Option<String>,
    /// The PCRs of the guest's TPM that it quotes; it has none if there are none.
    pub quoted_pcrs: Vec<u8>,
    /// Where the gateway listens.
    pub listen: String,
    /// The caller's key.
    pub api_key: String,
    /// A second tenant's.
    pub other_key: String,
    /// An auditor's, with which nothing but the log can be read.
    pub auditor_key: String,
    /// Whether workers keep what they computed for a prompt.
    pub keep_prefixes: bool,
    /// How exactly models compute: `f32`, `bf16` or `stored`.
    pub precision: String,
    /// The keeper's `[store]`, TOML; packages are directories when there is none.
    pub store: Option<String>,
    /// The keeper's `[collector]`, TOML; the kernel's audit records are not logged when there is none.
    pub collector: Option<String>,
    /// Layers without which no worker is given a key.
    pub required_layers: Vec<String>,
    /// Whether every layer must hold that production needs.
    pub production: bool,
    /// What each worker may take, TOML; no control group when there is none.
    pub group: Option<String>,
}

/// What a guest needs for the KBS protocol.
#[derive(Debug, Clone)]
pub struct OverKbs {
    /// The keys of tokens, a JSON web key set.
    pub token_keys: Value,
    /// The name of the resource with the key of every model.
    pub resource: String,
}

fn api_key() -> anyhow::Result<String> {
    Ok(format!("ak-{}", Sha256Digest::of(anchorhold_rats::Nonce::random()?.as_bytes())))
}

/// The file of keys beside the gateway's settings.
pub const API_KEYS: &str = "keys.toml";

/// Where a guest finds what its settings name.
#[derive(Debug, Clone)]
pub struct Places {
    /// The programs.
    pub programs: PathBuf,
    /// The settings' files.
    pub settings: PathBuf,
    /// What it writes: the log, and the gateway's certificate in `public`.
    pub state: PathBuf,
}

impl Places {
    /// A guest of this machine, with everything in one directory.
    #[must_use]
    pub fn of_process(programs: &Programs, directory: &Path) -> Self {
        Self {
            programs: programs.directory().to_owned(),
            settings: directory.to_owned(),
            state: directory.to_owned(),
        }
    }
}

impl Settings {
    /// A guest for these packages, at this broker.
    pub fn new(broker: &Broker, owner: &Owner, packages: &[Sealed]) -> anyhow::Result<Self> {
        let models =
            packages.iter().map(|sealed| (sealed.model_id.clone(), sealed.package.clone(), sealed.version));
        Ok(Self {
            broker_url: broker.url()?,
            broker_certificate: broker.keys.tls_certificate.clone(),
            broker_signing_key: broker.keys.signing_key.clone(),
            broker_log_key: broker.keys.log_key.clone(),
            broker_witness_key: broker.keys.witness_key.clone(),
            witnessed: None,
            privacy_recipient: None,
            over_kbs: None,
            owner_key: owner.public_key.clone(),
            models: models.collect(),
            debug: false,
            report_version: 5,
            launch_digest_file: None,
            tdx_collateral: None,
            gpus: None,
            quoted_pcrs: Vec::new(),
            listen: "127.0.0.1:0".to_owned(),
            api_key: api_key()?,
            other_key: api_key()?,
            auditor_key: api_key()?,
            keep_prefixes: true,
            precision: "f32".to_owned(),
            store: None,
            collector: None,
            required_layers: ["seccomp", "no new privileges", "no capabilities"].map(str::to_owned).to_vec(),
            production: false,
            group: None,
        })
    }

    fn broker_toml(&self, places: &Places) -> String {
        let Self { broker_url, broker_signing_key, broker_log_key, .. } = self;
        let certificate = quoted(&self.broker_certificate);
        let protocol = match &self.over_kbs {
            None => format!(
                "protocol = \"anchorhold\"\nsigning_key = \"{broker_signing_key}\"\nlog_key = \"{broker_log_key}\"\n\
                 witnesses = {{ needed = 0, keys = [] }}\nkem = \"x-wing\""
            ),
            Some(_) => {
                format!("protocol = \"kbs\"\ntoken_keys = {}", quoted(&places.settings.join(TOKEN_KEYS)))
            }
        };
        format!("[broker]\nurl = \"{broker_url}\"\ncertificate = {certificate}\n{protocol}\n\n")
    }

    /// Takes the packages of the models, in their order, from these addresses instead, through a cache.
    pub fn fetch_from(&mut self, programs: &Programs, cache: &Path, addresses: &[String]) {
        self.fetch_with(&programs.path("anchorhold-fetcher"), cache, addresses);
    }

    /// The same with the fetcher at this path.
    pub fn fetch_with(&mut self, program: &Path, cache: &Path, addresses: &[String]) {
        for (model, address) in self.models.iter_mut().zip(addresses) {
            model.1 = address.into();
        }
        self.store = Some(format!(
            "program = {:?}\ncache = {:?}\ncache_max_bytes = 1073741824\ndangerous_plain_http = true\n",
            program.to_string_lossy(),
            cache.to_string_lossy()
        ));
    }

    /// Changes one line of the keeper's `[store]`.
    pub fn replace_in_store(&mut self, from: &str, to: &str) {
        self.store = self.store.take().map(|store| store.replace(from, to));
    }

    /// Writes the files of settings for a guest that finds its own at `places` into `directory`.
    pub fn write(&self, places: &Places, directory: &Path) -> anyhow::Result<()> {
        std::fs::write(directory.join("keeper.toml"), self.keeper_toml(places))?;
        if let Some(OverKbs { token_keys, .. }) = &self.over_kbs {
            std::fs::write(directory.join(TOKEN_KEYS), token_keys.to_string())?;
        }
        std::fs::write(directory.join("gateway.toml"), self.gateway_toml(places))?;
        Ok(std::fs::write(directory.join(API_KEYS), "")?)
    }

    fn keeper_toml(&self, places: &Places) -> String {
        let mut text = format!(
            "deployment = \"demo\"\nproduction = {}\n\n[attester]\n{}debug = {}\n{}\n\
             {}[gateway]\nprogram = {}\nconfig = {}\nwrites = [{}]\n\n\
             [worker]\nprogram = {}\nthreads = 2\nkeep_prefixes = {}\nprecision = {:?}\nrequired_layers = {:?}\n\n\
             [audit]\ndirectory = {}\nreaders = [\"{}\"]\n",
            self.production,
            match self.tdx_collateral {
                None => format!("kind = \"software\"\nreport_version = {}\n", self.report_version),
                Some(_) => "kind = \"software-tdx\"\n".to_owned(),
            },
            self.debug,
            self.launch_digest_file
                .as_ref()
                .map_or_else(String::new, |file| format!("launch_digest_file = {}\n", quoted(file))),
            self.broker_toml(places),
            quoted(&places.programs.join("anchorhold-gateway")),
            quoted(&places.settings.join("gateway.toml")),
            quoted(&places.state.join("public")),
            quoted(&places.programs.join("anchorhold-worker")),
            self.keep_prefixes,
            self.precision,
            self.required_layers,
            quoted(&places.state.join("audit")),
            log_reader().public_key(),
        );
        if let Some((late, held)) = self.witnessed {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "witnesses = {{ needed = 1, late_seconds = {late}, held_seconds = {held}, witness = [{{ key = {:?}, url = {:?}, certificate = {} }}] }}",
                self.broker_witness_key,
                self.broker_url,
                quoted(&self.broker_certificate)
            );
        }
        if let Some(recipient) = &self.privacy_recipient {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "personal = {{ recipient = \"{recipient}\" }}");
        }
        let written = [("worker.group", &self.group), ("collector", &self.collector), ("gpus", &self.gpus)];
        for (table, lines) in written.into_iter().filter_map(|(table, lines)| Some((table, lines.as_ref()?)))
        {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n[{table}]\n{lines}");
        }
        if !self.quoted_pcrs.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n[tpm]\npcrs = {:?}\n", self.quoted_pcrs);
        }
        if let Some(collateral) = &self.tdx_collateral {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n[endorsements]\ntdx_collateral = {}\n", quoted(collateral));
        }
        if let Some(store) = &self.store {
            text.push_str("\n[store]\n");
            text.push_str(store);
        }
        for (id, package, version_min) in &self.models {
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "\n[[model]]\nid = \"{id}\"\npackage = {}\nowner_key = \"{}\"\nversion_min = {version_min}\n",
                quoted(package),
                self.owner_key
            );
            if let Some(OverKbs { resource, .. }) = &self.over_kbs {
                let _ = writeln!(text, "resource = \"kbs:///{resource}\"");
            }
        }
        text
    }

    fn gateway_toml(&self, places: &Places) -> String {
        let ids: Vec<_> = self.models.iter().map(|(id, ..)| id).collect();
        format!(
            "keys_file = \"keys.toml\"\nlisten = \"{}\"\nnames = [\"localhost\", \"127.0.0.1\"]\ncertificate = {:?}\nmodels = {ids:?}\n\n\
             [[tenant]]\nname = \"demo\"\nscopes = [\"generate\", \"embed\", \"rerank\", \"models\", \"tokenize\", \"metrics\"]\n\n\
             [[tenant]]\nname = \"other\"\n\n\
             [[tenant]]\nname = \"auditor\"\nscopes = [\"audit\"]\n\n\
             [[key]]\ntenant = \"demo\"\nsha256 = \"{}\"\n\n\
             [[key]]\ntenant = \"other\"\nsha256 = \"{}\"\n\n\
             [[key]]\ntenant = \"auditor\"\nsha256 = \"{}\"\n",
            self.listen,
            places.state.join("public/server.pem").to_string_lossy(),
            Sha256Digest::of(self.api_key.as_bytes()),
            Sha256Digest::of(self.other_key.as_bytes()),
            Sha256Digest::of(self.auditor_key.as_bytes())
        )
    }
}

/// How a start ended.
#[derive(Debug)]
pub enum Start {
    /// It serves.
    Ready(Box<Guest>),
    /// It ended.
    Refused(Refusal),
}

/// Why a guest did not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Who refused: `key broker`, `store`, `worker` or `keeper`.
    pub by: String,
    /// The stable code.
    pub code: String,
    /// What a person reads.
    pub text: String,
}

impl Start {
    /// The guest, which must serve.
    pub fn ready(self) -> anyhow::Result<Guest> {
        match self {
            Self::Ready(guest) => Ok(*guest),
            Self::Refused(Refusal { by, code, text }) => bail!("{by} refused with {code}: {text}"),
        }
    }

    /// The refusal, which must have come.
    pub fn refused(self) -> anyhow::Result<Refusal> {
        match self {
            Self::Refused(refusal) => Ok(refusal),
            Self::Ready(guest) => bail!("the guest serves on {}", guest.address),
        }
    }
}

/// A guest that serves.
#[derive(Debug)]
pub struct Guest {
    process: Process,
    /// Every stage of the start, as the keeper told it.
    pub stages: Vec<Value>,
    /// Where the gateway listens.
    pub address: String,
    /// The server's certificate, PEM.
    pub certificate: PathBuf,
    /// The audit log of this boot.
    pub audit_log: PathBuf,
    /// A key of tenant `demo`.
    pub api_key: String,
}

/// The simulated launch digest of a guest made of these programs, hex.
pub fn measurement(programs: &Programs) -> anyhow::Result<String> {
    measure(programs, &["keeper", "gateway", "worker"])
}

/// The same for a guest that fetches its packages.
pub fn measurement_with_fetcher(programs: &Programs) -> anyhow::Result<String> {
    measure(programs, &["keeper", "gateway", "worker", "fetcher"])
}

fn measure(programs: &Programs, names: &[&str]) -> anyhow::Result<String> {
    let component = |name: &str| format!("{name}={}", programs.path(&format!("anchorhold-{name}")).display());
    let mut arguments: Vec<String> = vec!["image".into(), "measure".into(), "simulated".into()];
    for name in names {
        arguments.extend(["--component".into(), component(name)]);
    }
    let borrowed: Vec<&dyn AsRef<std::ffi::OsStr>> = arguments.iter().map(|text| text as _).collect();
    Ok(programs.run("anchorhold", &borrowed)?.trim().to_owned())
}

impl Guest {
    /// Starts a guest whose files lie in `directory`; `hear` is told each stage.
    pub fn start(
        programs: &Programs,
        directory: &Path,
        settings: &Settings,
        hear: impl FnMut(&Value),
    ) -> anyhow::Result<Start> {
        Self::start_watched(programs, directory, settings, |_| {}, hear)
    }

    /// The same; `started` is told the keeper's process id.
    pub fn start_watched(
        programs: &Programs,
        directory: &Path,
        settings: &Settings,
        started: impl FnOnce(u32),
        mut hear: impl FnMut(&Value),
    ) -> anyhow::Result<Start> {
        std::fs::create_dir_all(directory.join("public"))?;
        std::fs::create_dir_all(directory.join("audit"))?;
        settings.write(&Places::of_process(programs, directory), directory)?;
        write_log_reader(directory)?;
        let mut command = Command::new(programs.path("anchorhold-keeper"));
        command.arg("--config").arg(directory.join("keeper.toml"));
        let mut process = Process::start(command, &directory.join("guest.stderr"))?;
        started(process.id());
        let mut stages: Vec<Value> = Vec::new();
        while let Some(line) = process.line(STAGE)? {
            let stage: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
            hear(&stage);
            stages.push(stage);
            let Some(last) = stages.last().filter(|stage| stage["stage"] == "ready") else { continue };
            let text = |key: &str| last[key].as_str().map(str::to_owned).context("ready without its parts");
            return Ok(Start::Ready(Box::new(Self {
                address: text("address")?,
                audit_log: text("audit_log")?.into(),
                certificate: directory.join("public/server.pem"),
                api_key: settings.api_key.clone(),
                process,
                stages,
            })));
        }
        let status = process.wait(STAGE)?;
        if status.success() {
            bail!("the keeper ended with success before it served");
        }
        Ok(Start::Refused(refusal(&stages, &process.stderr_text())))
    }

    /// Reads what the keeper tells up to the next stage with this name.
    pub fn next_stage(&mut self, name: &str, within: Duration) -> anyhow::Result<&Value> {
        loop {
            let line = self.process.line(within)?.context("the keeper ended")?;
            let stage: Value = serde_json::from_str(&line)?;
            let found = stage["stage"] == name;
            self.stages.push(stage);
            if found {
                return self.stages.last().context("no stage");
            }
        }
    }

    /// The last told stage with this name and, if given, of this model.
    #[must_use]
    pub fn stage(&self, name: &str, model: Option<&str>) -> Option<&Value> {
        let of_model = |stage: &&Value| model.is_none_or(|model| stage["model"] == model);
        self.stages.iter().rev().filter(|stage| stage["stage"] == name).find(of_model)
    }

    /// The process id of a worker.
    #[must_use]
    pub fn worker_pid(&self, model: &str) -> Option<i32> {
        self.stage("worker", Some(model))?["pid"].as_i64()?.try_into().ok()
    }

    /// The process id of the gateway.
    #[must_use]
    pub fn gateway_pid(&self) -> Option<i32> {
        self.stage("gateway", None)?["pid"].as_i64()?.try_into().ok()
    }

    /// The process id of the keeper.
    #[must_use]
    pub fn keeper_pid(&self) -> u32 {
        self.process.id()
    }

    /// The entries of its audit log so far, those included that no checkpoint covers yet.
    pub fn entries(&self) -> anyhow::Result<Vec<Value>> {
        log_entries(&self.audit_log)
    }

    /// What its processes wrote to standard error.
    #[must_use]
    pub fn stderr_text(&self) -> String {
        self.process.stderr_text()
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Ends it as an operator would, and waits for a clean end.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.process.signal(rustix::process::Signal::TERM)?;
        let status = self.process.wait(Duration::from_secs(60))?;
        if !status.success() {
            bail!("the guest ended with {status}: {}", self.process.stderr_text());
        }
        Ok(())
    }
}

/// Who reads the logs of tests and of the demonstration: a key that everybody who reads this has.
#[must_use]
pub fn log_reader() -> ReaderKey {
    ReaderKey::from_seed(Kem::X25519, Secret::take(&mut [0x6c; 32]))
}

/// Writes the file of that key into `folder`, for the command line.
pub fn write_log_reader(folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("log-reader.key");
    if !path.exists() {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(log_reader().to_text().as_bytes())?;
    }
    Ok(path)
}

/// What `anchorhold audit export` says of the log, by that key; the bundle is `bundle`.
pub fn export_log(programs: &Programs, log: &Path, bundle: &Path) -> anyhow::Result<Output> {
    let key = write_log_reader(bundle.parent().context("a bundle is in a folder")?)?;
    programs.output(
        "anchorhold",
        &[&"audit", &"export", &"--log", &log, &"--reader-key", &key, &"--out", &bundle],
    )
}

/// The entries of the audit log in this directory.
pub fn log_entries(log: &Path) -> anyhow::Result<Vec<Value>> {
    let mut lines = Vec::new();
    let copies = read_key_copies(log)?.context("the log has no readers")?;
    let key = KeyCopies::from_json(&copies)?.open(&log_reader())?;
    export_jsonl(LogPlace::encrypted(log, &ReadingKey::new(key.expose())), &mut lines)?;
    serde_json::Deserializer::from_slice(&lines).into_iter().map(|entry| Ok(entry?)).collect()
}

/// Who ended a start, by what the keeper told and what was on standard error.
pub(crate) fn refusal(stages: &[Value], stderr: &str) -> Refusal {
    // When the gateway or a worker ended the start, its own words say more than the keeper's.
    let errors: Vec<_> =
        stderr.lines().filter_map(|line| line.split_once(": error: ")).map(|(_, text)| text).collect();
    let text = if errors.is_empty() { stderr.to_owned() } else { errors.join("; ") };
    let told = |stage: &Value, by: &str, code: &Value| Refusal {
        by: by.to_owned(),
        code: code.as_str().or(stage["stage"].as_str()).unwrap_or("unknown").to_owned(),
        text: text.clone(),
    };
    match stages.last() {
        Some(stage) if stage["stage"] == "refused" => told(stage, "key broker", &stage["error"]["code"]),
        Some(stage) if stage["stage"] == "fetch_failed" => told(stage, "store", &stage["code"]),
        Some(stage) if stage["stage"] == "load_failed" => told(stage, "worker", &stage["code"]),
        Some(stage) => told(stage, "keeper", &Value::Null),
        None => Refusal { by: "keeper".to_owned(), code: "start".to_owned(), text },
    }
}
