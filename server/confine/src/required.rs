//! What must hold a process in production.

use crate::{Role, SERVING};

/// Layers without which no process of ours serves in production: one of each line.
const EVERYBODY: &[&[&str]] =
    &[&["no new privileges"], &["no core dump"], &["landlock"], &["selinux", "apparmor"], &["seccomp"]];
/// Of everybody but the keeper, which starts them.
const CHILDREN: &[&[&str]] =
    &[&["dies with the keeper"], &["ipc namespace"], &["uts namespace"], &["resource limits"]];
const WITHOUT_PATHS: &[&[&str]] = &[&["empty root"]];
const WITHOUT_CAPABILITIES: &[&[&str]] = &[&["no capabilities"]];
const FEW_CAPABILITIES: &[&[&str]] = &[&["few capabilities"]];
const WITHOUT_NETWORK: &[&[&str]] = &[&["network namespace"]];
/// Of who computes.
const WORKERS: &[&[&str]] = &[&["network namespace"], &[crate::GROUP]];
const SERVES: &[&[&str]] = &[&[SERVING]];

/// Until when a process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is confined, and has not begun to serve.
    Start,
    /// It is about to serve, or serves.
    Serving,
}

/// The layers that a process of this role lacks in production, where those of `active` hold it; each as its alternatives, with `or`
/// between. Settings can ask for more and never for less.
#[must_use]
pub fn lacking(role: &Role, phase: Phase, active: &[impl AsRef<str>]) -> Vec<String> {
    let mut sets = vec![EVERYBODY];
    match role {
        Role::Keeper(_) => {}
        Role::Worker => sets.extend([CHILDREN, WITHOUT_CAPABILITIES, WITHOUT_PATHS, WORKERS]),
        Role::DeviceWorker(_) => sets.extend([CHILDREN, WITHOUT_CAPABILITIES, WORKERS]),
        // These compute nothing, so they have no share of their own.
        Role::GpuAttester(_) => sets.extend([CHILDREN, WITHOUT_CAPABILITIES, WITHOUT_NETWORK]),
        Role::GpuAcceptor(_) => sets.extend([CHILDREN, FEW_CAPABILITIES, WITHOUT_NETWORK]),
        Role::Gateway => sets.extend([CHILDREN, WITHOUT_CAPABILITIES, WITHOUT_PATHS]),
        Role::Fetcher(_) => sets.extend([CHILDREN, WITHOUT_CAPABILITIES]),
        Role::Collector => sets.extend([CHILDREN, FEW_CAPABILITIES, WITHOUT_PATHS]),
    }
    if phase == Phase::Serving {
        sets.push(SERVES);
    }
    let holds = |layer: &&str| active.iter().any(|active| active.as_ref() == *layer);
    let wanted = sets.into_iter().flatten();
    wanted.filter(|layers| !layers.iter().any(holds)).map(|layers| layers.join(" or ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GROUP, Reach};

    /// All that a worker can have.
    const WORKER: [&str; 14] = [
        "no new privileges",
        "no core dump",
        "dies with the keeper",
        "ipc namespace",
        "uts namespace",
        "network namespace",
        "empty root",
        "landlock",
        "no capabilities",
        "resource limits",
        "selinux",
        "seccomp",
        GROUP,
        SERVING,
    ];

    #[test]
    fn a_worker_lacks_each_layer_that_is_taken_away() {
        assert_eq!(lacking(&Role::Worker, Phase::Serving, &WORKER), Vec::<String>::new());
        for layer in WORKER {
            let rest: Vec<_> = WORKER.into_iter().filter(|other| *other != layer).collect();
            let lacks = lacking(&Role::Worker, Phase::Serving, &rest);
            assert!(lacks.len() == 1 && lacks[0].contains(layer), "{layer}: {lacks:?}");
        }
        let before: Vec<_> = WORKER.into_iter().filter(|layer| *layer != SERVING).collect();
        assert_eq!(lacking(&Role::Worker, Phase::Start, &before), Vec::<String>::new());
    }

    #[test]
    fn who_asks_gpus_lacks_each_layer_that_is_taken_away_and_the_capability_is_the_acceptors_alone() {
        let held = WORKER.into_iter().filter(|layer| !["empty root", GROUP].contains(layer));
        let (few, none) = ("few capabilities", "no capabilities");
        let attester: Vec<_> = held.collect();
        let acceptor: Vec<_> =
            attester.iter().map(|layer| if *layer == none { few } else { *layer }).collect();
        let reach = Reach::default;
        let (asks, accepts) = (Role::GpuAttester(reach()), Role::GpuAcceptor(reach()));
        for (role, layers, other) in [(&asks, &attester, &acceptor), (&accepts, &acceptor, &attester)] {
            assert_eq!(lacking(role, Phase::Serving, layers), Vec::<String>::new());
            for layer in layers {
                let rest: Vec<_> = layers.iter().filter(|other| *other != layer).collect();
                let lacks = lacking(role, Phase::Serving, &rest);
                assert!(lacks.len() == 1 && lacks[0].contains(layer), "{role:?}, {layer}: {lacks:?}");
            }
            assert_eq!(lacking(role, Phase::Serving, other).len(), 1, "{role:?}");
        }
    }

    #[test]
    fn either_policy_will_do_and_no_role_goes_without_both() {
        let other = WORKER.map(|layer| if layer == "selinux" { "apparmor" } else { layer });
        assert_eq!(lacking(&Role::Worker, Phase::Serving, &other), Vec::<String>::new());
        let reach = Reach::default;
        for role in [
            Role::Worker,
            Role::DeviceWorker(reach()),
            Role::GpuAttester(reach()),
            Role::GpuAcceptor(reach()),
            Role::Gateway,
            Role::Fetcher(reach()),
            Role::Collector,
            Role::Keeper(reach()),
        ] {
            let lacks = lacking(&role, Phase::Start, &["seccomp"]);
            assert!(lacks.contains(&"selinux or apparmor".to_owned()), "{role:?}: {lacks:?}");
        }
    }
}
