//! A PostgreSQL server of the machine's own, in a temporary folder, on a socket and on TCP with TLS.

use anchorhold_channel::tls::SelfSigned;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder with `initdb` and `pg_ctl`; `None` where PostgreSQL is not installed.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut folders: Vec<_> = versions.map(|version| version.unwrap().path().join("bin")).collect();
    folders.sort();
    folders.into_iter().rev().find(|folder| folder.join("initdb").is_file())
}

/// User and group to run the server as: it refuses to be root.
fn account() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let id = |which: &str| {
        let output = Command::new("id").args([which, "postgres"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    };
    Some((id("-u"), id("-g")))
}

pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    programs: PathBuf,
    account: Option<(u32, u32)>,
    pub(crate) port: u16,
}

impl Cluster {
    /// Starts a server; `None`, loudly, where there is none to be started. Fails in CI then.
    pub(crate) fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(std::env::var_os("CI").is_none(), "PostgreSQL is missing");
            eprintln!("skipped: PostgreSQL is not installed");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Self { folder, programs, account: account(), port };
        cluster.own(cluster.folder.path());
        cluster.run("initdb", &["--auth=trust", "--username=broker", "--no-sync", "-D"]);
        let certificate = SelfSigned::generate(&["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        cluster.write("server.pem", certificate.certificate_pem().as_bytes());
        let key = cluster.write("server.key", pem("PRIVATE KEY", certificate.key.secret_der()).as_bytes());
        std::fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{0}'\nssl = on\n\
             ssl_cert_file = '{0}/server.pem'\nssl_key_file = '{0}/server.key'\nmax_connections = 60\n\
             shared_buffers = 16MB\n",
            cluster.socket().display()
        );
        cluster.write("data/postgresql.auto.conf", settings.as_bytes());
        cluster.up();
        Some(cluster)
    }

    /// The folder of the socket, of the certificate and of the log.
    pub(crate) fn socket(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        self.own(&path);
        path
    }

    fn own(&self, path: &Path) {
        if let Some((user, group)) = self.account {
            let (user, group) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
            rustix::fs::chown(path, Some(user), Some(group)).unwrap();
        }
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.programs.join(program));
        if let Some((user, group)) = self.account {
            command.gid(group).uid(user);
        }
        let log = self.folder.path().join("log");
        command.args(arguments).arg(self.folder.path().join("data")).current_dir(self.folder.path());
        // The server keeps what it inherits, so it gets nothing that a test waits for.
        let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(output.unwrap().success(), "{program}: {}", std::fs::read_to_string(log).unwrap_or_default());
    }

    pub(crate) fn up(&self) {
        let log = self.folder.path().join("log");
        self.run("pg_ctl", &["start", "--wait", "--log", log.to_str().unwrap(), "-D"]);
    }

    /// Ends it as a power cut would, but for what the disk has taken.
    pub(crate) fn crash(&self) {
        self.run("pg_ctl", &["stop", "--mode=immediate", "-D"]);
    }

    /// Runs SQL as its superuser.
    pub(crate) fn sql(&self, text: &str) {
        let mut config = ::postgres::Config::new();
        config.host_path(self.socket()).port(self.port).user("broker").dbname("postgres");
        config.connect(::postgres::NoTls).unwrap().batch_execute(text).unwrap();
    }

    /// The settings of a state in this server, over its socket.
    pub(crate) fn settings(&self) -> String {
        format!(
            "host = {:?}\nport = {}\nuser = \"broker\"\ndatabase = \"postgres\"\n",
            self.socket(),
            self.port
        )
    }

    /// The same over TLS, at this port of the loopback.
    pub(crate) fn settings_over_tls(&self, port: u16) -> String {
        let authority = self.socket().join("server.pem");
        format!(
            "host = \"localhost\"\nport = {port}\nuser = \"broker\"\ndatabase = \"postgres\"\nca_file = {authority:?}\n"
        )
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut command = Command::new(self.programs.join("pg_ctl"));
        if let Some((user, group)) = self.account {
            command.gid(group).uid(user);
        }
        // A server that a failed test left down is no fault here.
        let _ = command
            .args(["stop", "--mode=immediate", "-D"])
            .arg(self.folder.path().join("data"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
