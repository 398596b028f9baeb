//! A token of SoftHSM2 in a folder of its own. Where SoftHSM2 is missing, CI fails and a person is told.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];
pub(crate) const LABEL: &str = "anchorhold";
pub(crate) const PIN: &str = "271828";

/// The module, where it is installed; `test` needs it.
pub(crate) fn module(test: &str) -> Option<PathBuf> {
    let module = MODULES.iter().map(PathBuf::from).find(|module| module.exists());
    if module.is_none() {
        assert!(std::env::var_os("CI").is_none(), "softhsm2 is missing: run tests/scripts/setup.sh");
        eprintln!("SKIPPED: {test} needs softhsm2; tests/scripts/setup.sh installs it");
    }
    module
}

/// Makes a token in `tokens` and a file `pin` beside it; the settings that a process has to have in `SOFTHSM2_CONF`.
pub(crate) fn make_token(folder: &Path) -> PathBuf {
    let tokens = folder.join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let conf = folder.join("softhsm2.conf");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    std::fs::write(&conf, text).unwrap();
    let init = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", LABEL, "--so-pin", "1234", "--pin", PIN])
        .env("SOFTHSM2_CONF", &conf)
        .output()
        .unwrap();
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    let pin_file = folder.join("pin");
    std::fs::write(&pin_file, format!("{PIN}\n")).unwrap();
    std::fs::set_permissions(&pin_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    conf
}
