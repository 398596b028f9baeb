//! Compiles `policies/seccomp/filters.toml` into the filters of `src/seccomp.rs`: the programs carry instructions for the kernel, and no
//! reader of texts. What the file says and this does not understand, or a call that the machine does not have, stops the build.

use anyhow::{Context as _, anyhow, bail, ensure};
use seccompiler::{BpfMap, TargetArch};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

const FILE: &str = "../../policies/seccomp/filters.toml";
/// The C library does without `clone3` when it is told that there is none.
const CLONE3: &str = "clone3";
const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    calls: BTreeMap<String, Calls>,
    process: BTreeMap<String, Process>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Calls {
    why: String,
    list: Vec<Call>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Call {
    Any(String),
    One(OneArgument),
    Some(SomeArguments),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct OneArgument {
    call: String,
    arg: u8,
    #[serde(default)]
    wide: bool,
    mask: Option<u64>,
    is: u64,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SomeArguments {
    call: String,
    args: Vec<Argument>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Argument {
    arg: u8,
    #[serde(default)]
    wide: bool,
    mask: Option<u64>,
    is: u64,
}

/// Either what a process may do, or what it may not.
#[derive(Deserialize)]
#[serde(untagged)]
enum Process {
    Allowed(Allowed),
    Refused(Refused),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    start: Vec<String>,
    serving: Vec<String>,
    never: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    refused_start: Vec<String>,
    refused_serving: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed={FILE}");
    let text = std::fs::read_to_string(FILE).context(FILE)?;
    let filters: Filters = toml::from_str(&text).context(FILE)?;
    let variable = |name: &str| std::env::var(name).context(name.to_owned());
    let arch: TargetArch =
        variable("CARGO_CFG_TARGET_ARCH")?.as_str().try_into().map_err(|error| anyhow!("{error}"))?;
    let mut source = String::new();
    let mut used = BTreeSet::new();
    for (name, process) in &filters.process {
        let (start, serving) = filters.of(process, &mut used).with_context(|| name.clone())?;
        let constant = name.replace('-', "_").to_uppercase();
        writeln!(source, "const {constant}: Process = Process {{")?;
        for (phase, programs) in [("start", start), ("serving", serving)] {
            writeln!(source, "    {phase}: &[")?;
            for (refusals, filter) in programs {
                let code = compile(&filter, arch).with_context(|| format!("{name}, {phase}"))?;
                writeln!(source, "        Program {{ refusals: Refusals::{refusals}, code: &[{code}] }},")?;
            }
            writeln!(source, "    ],")?;
        }
        writeln!(source, "}};")?;
    }
    let unused: Vec<_> = filters.calls.keys().filter(|name| !used.contains(*name)).collect();
    ensure!(unused.is_empty(), "nobody has the calls {unused:?}");
    std::fs::write(PathBuf::from(variable("OUT_DIR")?).join("filters.rs"), source)?;
    Ok(())
}

/// A filter in the words of `seccompiler`, and what becomes of its refusals.
type Named = (&'static str, Value);

impl Filters {
    /// The filters of both phases, in the order in which they are added. One that allows comes last, because what it does not allow
    /// may be the call that adds another.
    fn of(&self, process: &Process, used: &mut BTreeSet<String>) -> anyhow::Result<(Vec<Named>, Vec<Named>)> {
        match process {
            Process::Allowed(Allowed { start, serving, never }) => {
                let (start, serving) = (self.rules(start, used)?, self.rules(serving, used)?);
                for call in serving.keys() {
                    ensure!(start.contains_key(call), "{call} is allowed while serving and not before");
                }
                let never = self.rules(std::slice::from_ref(never), used)?;
                ensure!(!never.keys().any(|call| start.contains_key(call)), "a call ends who may make it");
                let mut first = Vec::new();
                if start.contains_key(CLONE3) {
                    let only = BTreeMap::from([(CLONE3.to_owned(), BTreeSet::from([Vec::new()]))]);
                    first.push(("Silent", filter(&only, json!("allow"), json!({ "errno": ENOSYS }))));
                }
                let refused = json!({ "errno": EPERM });
                first.push(("Logged", filter(&start, refused.clone(), json!("allow"))));
                let second = vec![
                    ("Logged", filter(&never, json!("allow"), json!("kill_process"))),
                    ("Logged", filter(&serving, refused, json!("allow"))),
                ];
                Ok((first, second))
            }
            Process::Refused(Refused { refused_start, refused_serving }) => {
                let mut refuse = |names| {
                    let rules = self.rules(names, used)?;
                    anyhow::Ok(vec![("Logged", filter(&rules, json!("allow"), json!({ "errno": EPERM })))])
                };
                Ok((refuse(refused_start)?, refuse(refused_serving)?))
            }
        }
    }

    /// The rules of these groups, by the name of the call: one of them must hold, and of a rule each condition.
    fn rules(&self, groups: &[String], used: &mut BTreeSet<String>) -> anyhow::Result<Rules> {
        let mut rules = Rules::new();
        for name in groups {
            let group = self.calls.get(name).with_context(|| format!("there are no calls {name}"))?;
            ensure!(!group.why.is_empty(), "{name} does not say why");
            used.insert(name.clone());
            for call in group.list.iter().cloned() {
                let (call, arguments) = match call {
                    Call::Any(call) => (call, Vec::new()),
                    Call::One(OneArgument { call, arg, wide, mask, is }) => {
                        (call, vec![Argument { arg, wide, mask, is }])
                    }
                    Call::Some(SomeArguments { call, args }) => (call, args),
                };
                let conditions = arguments.iter().map(|argument| condition(argument).to_string()).collect();
                rules.entry(call).or_default().insert(conditions);
            }
        }
        for (call, conditions) in &rules {
            if conditions.len() > 1 && conditions.contains(&Vec::new()) {
                bail!("{call} is there with and without a condition");
            }
        }
        Ok(rules)
    }
}

type Rules = BTreeMap<String, BTreeSet<Vec<String>>>;

fn condition(Argument { arg, wide, mask, is }: &Argument) -> Value {
    let op = mask.map_or(json!("eq"), |mask| json!({ "masked_eq": mask }));
    json!({ "index": arg, "type": if *wide { "qword" } else { "dword" }, "op": op, "val": is })
}

fn filter(rules: &Rules, mismatch: Value, matched: Value) -> Value {
    let of = |(call, conditions): (&String, &BTreeSet<Vec<String>>)| {
        let rule = |conditions: &Vec<String>| match conditions.as_slice() {
            [] => json!({ "syscall": call }),
            all => {
                let all: Vec<Value> = all.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
                json!({ "syscall": call, "args": all })
            }
        };
        conditions.iter().map(rule).collect::<Vec<_>>()
    };
    let list: Vec<Value> = rules.iter().flat_map(of).collect();
    json!({ "it": { "mismatch_action": mismatch, "match_action": matched, "filter": list } })
}

/// The instructions, as Rust.
fn compile(filter: &Value, arch: TargetArch) -> anyhow::Result<String> {
    let programs: BpfMap = seccompiler::compile_from_json(filter.to_string().as_bytes(), arch)?;
    let program = programs.get("it").context("no filter")?;
    let mut code = String::new();
    for seccompiler::sock_filter { code: op, jt, jf, k } in program {
        write!(code, "instruction({op}, {jt}, {jf}, {k}), ")?;
    }
    Ok(code)
}
