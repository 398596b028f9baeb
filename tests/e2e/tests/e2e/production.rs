//! The production key broker trusts AMD's roots, and nothing that anybody says, sets or places changes that.

use anchorhold_attester::software::simulated_ark_der;
use anchorhold_e2e::broker::Roots;
use anchorhold_e2e::guest::{Refusal, Settings};
use anchorhold_e2e::memory::contains;
use anchorhold_e2e::models::{self, CHAT};
use anchorhold_e2e::policy::Policy;
use anchorhold_e2e::process::Programs;
use anchorhold_e2e::refusals::Stand;

const PRODUCTION: &str = "anchorhold-key-broker";
const SIMULATED: &str = "anchorhold-key-broker-simulated";
/// Words of a flag that could weaken what is trusted.
const WEAKER: [&str; 8] = ["root", "simulat", "danger", "insecure", "trust", "ark", "--anchor", "allow"];

fn text(programs: &Programs, name: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = arguments.iter().map(|text| text as _).collect();
    let output = programs.output(name, &arguments).unwrap();
    let all = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(all).unwrap())
}

fn weaker(help: &str) -> Vec<&'static str> {
    // The program's own name is no flag.
    let help = help.to_lowercase().replace("anchorhold", "");
    WEAKER.into_iter().filter(|word| help.contains(word)).collect()
}

#[test]
fn case_05_the_production_broker_has_no_flag_for_another_root() {
    let programs = Programs::beside_this_one().unwrap();
    for arguments in [&[][..], &["init"], &["import"], &["policy"], &["serve"]] {
        let (exit, help) = text(&programs, PRODUCTION, &[arguments, &["--help"]].concat());
        assert_eq!((exit, weaker(&help)), (Some(0), vec![]), "{help}");
        assert!(!help.contains("[env"), "{help}");
    }
    // The search finds such a flag where there is one.
    let (_, help) = text(&programs, "anchorhold", &["verify", "--help"]);
    assert!(weaker(&help).contains(&"simulat"), "{help}");
    for flag in ["--dangerous-simulated-root", "--simulated-root", "--root", "--trust-anchor", "--simulated"]
    {
        let serve = ["serve", "--state", "nowhere", "--listen", "127.0.0.1:0", flag, "root.der"];
        let (exit, said) = text(&programs, PRODUCTION, &serve);
        assert_eq!(exit, Some(2), "{said}");
        assert!(said.contains("unexpected argument"), "{said}");
    }
}

#[test]
fn case_05_the_production_broker_does_not_hold_the_simulated_root() {
    let programs = Programs::beside_this_one().unwrap();
    let root = simulated_ark_der();
    let program = |name| std::fs::read(programs.path(name)).unwrap();
    let (production, simulated) = (program(PRODUCTION), program(SIMULATED));
    assert!(contains(&simulated, root), "the search does not find the root where it is");
    // Nor any part of it that is its own: the middle of a certificate is its public key.
    let key = &root[root.len() / 2..root.len() / 2 + 64];
    assert!(contains(&simulated, key));
    assert!(!contains(&production, root) && !contains(&production, key));
    // No variable of ours is looked at, so none can be set.
    assert!(!contains(&production, b"ANCHORHOLD_"));
}

/// A guest's start at a production broker.
fn start(stand: &Stand, settings: &Settings) -> Refusal {
    stand.start(settings).unwrap().refused().unwrap()
}

fn check_no_anchor(refusal: &Refusal) {
    let observed = (refusal.by.as_str(), refusal.code.as_str());
    assert_eq!(observed, ("key broker", "snp_no_trust_anchor"), "{}", refusal.text);
}

#[test]
fn case_05_neither_variables_nor_files_bring_the_production_broker_another_root() {
    let mut stand = Stand::with(Roots::Production).unwrap();
    let root = simulated_ark_der();
    let places =
        ["ark.der", "root.der", "roots.der", "simulated-root.der", "trust-anchors.der", "anchors/genoa.der"];
    std::fs::create_dir(stand.broker.state.join("anchors")).unwrap();
    for place in places {
        std::fs::write(stand.broker.state.join(place), root).unwrap();
    }
    let path = stand.broker.state.join("root.der").display().to_string();
    for name in
        ["SIMULATED", "SIMULATED_ROOT", "DANGEROUS_SIMULATED_ROOT", "TRUST_ANCHORS", "ROOT", "ROOTS", "ARK"]
    {
        let variables = [("", path.as_str()), ("_FILE", path.as_str()), ("_ALLOW", "true"), ("_ON", "1")];
        let named = |(end, value): (&str, &str)| (format!("ANCHORHOLD_{name}{end}"), value.to_owned());
        stand.broker.environment.extend(variables.map(named));
        stand.broker.environment.push((format!("ANCHORHOLD_KEY_BROKER_{name}"), path.clone()));
    }
    let settings = stand.with_chat().unwrap();
    check_no_anchor(&start(&stand, &settings));
}

#[test]
fn case_08_a_policy_cannot_name_a_root() {
    let mut stand = Stand::with(Roots::Production).unwrap();
    let sealed = [stand.seal(&models::chat(), (CHAT, 1)).unwrap()];
    let measurement = stand.measurement.clone();
    let good = Policy {
        version: 1,
        measurement: &measurement,
        models: &[(CHAT, 1)],
        lease: "60m",
        max_instances: 16,
    }
    .to_toml();
    for (before, line) in [
        ("[revoked]", "roots = \"simulated\"\n"),
        ("[revoked]", "allow_simulated = true\n"),
        ("[grant.snp]", "trust_anchors = [\"simulated\"]\n"),
        ("products  ", "roots = [\"simulated\"]\n"),
        ("products  ", "simulated = true\n"),
    ] {
        let (head, tail) = good.split_once(before).unwrap();
        let error = stand.broker.set_policy(&format!("{head}{line}{before}{tail}")).unwrap_err();
        let error = format!("{error:#}");
        let refused = ["is no key of a policy", "the keys below a simulated root are public"];
        assert!(refused.iter().any(|why| error.contains(why)), "{line}: {error}");
    }
    // The policy without such a line is taken, and the start is refused all the same.
    stand.broker.set_policy(&good).unwrap();
    stand.broker.serve().unwrap();
    let settings = Settings::new(&stand.broker, &stand.owner, &sealed).unwrap();
    check_no_anchor(&start(&stand, &settings));
}

#[test]
fn case_05_the_state_of_a_simulated_broker_does_not_make_the_production_broker_one() {
    let mut stand = Stand::new().unwrap();
    let settings = stand.with_chat().unwrap();
    stand.start(&settings).unwrap().ready().unwrap().stop().unwrap();
    stand.broker.kill();
    stand.broker.roots = Roots::Production;
    stand.broker.serve().unwrap();
    check_no_anchor(&start(&stand, &settings));
}

#[test]
fn case_43_production_serves_only_under_all_its_layers() {
    let mut stand = Stand::new().unwrap();
    let mut settings = stand.with_chat().unwrap();
    settings.production = true;
    settings.group = Some("memory_mib = 512\n".to_owned());
    // Without a collector that must hear, the settings are refused.
    let refusal = start(&stand, &settings);
    assert!(refusal.text.contains("production needs a [collector]"), "{}", refusal.text);
    let collector = Programs::beside_this_one().unwrap().path("anchorhold-collector");
    settings.collector = Some(format!("program = {collector:?}\nhearing = \"beside\"\n"));
    if std::fs::exists("/sys/fs/selinux/enforce").unwrap()
        || std::fs::exists("/sys/kernel/security/apparmor").unwrap()
    {
        // A machine with a mandatory policy may have it all; the guest's test sees that production serves there.
        return;
    }
    let refusal = start(&stand, &settings);
    assert!(refusal.text.contains("the keeper runs without selinux or apparmor"), "{}", refusal.text);
}
