//! The mandatory policy of the guest, SELinux's or AppArmor's: whether it is in force, and the last step into the domain that serves.
//!
//! A program of ours begins in a domain whose name ends in `_start_t`, in which it opens what it needs and gives up what it has
//! (`policies/selinux`). [`Domain::settle`] then changes to the domain without `_start`. There is no way back.

use crate::attributes::{self, Attribute, Module};
use crate::{ConfineError, Layers, Role};
use std::io;

/// Says `1` where SELinux enforces. Who confines a process that is to know must leave it this path.
pub const ENFORCE: &str = "/sys/fs/selinux/enforce";

/// The domain that the process is in, looked at while there still are paths.
pub(crate) struct Domain {
    context: Option<(Module, String)>,
    selinux_enforces: bool,
}

impl Domain {
    /// Looks while `/sys` is still there.
    pub(crate) fn look() -> Self {
        let enforce = std::fs::read_to_string(ENFORCE);
        Self {
            context: attributes::current(),
            selinux_enforces: enforce.is_ok_and(|text| text.trim() == "1"),
        }
    }

    /// Changes to the domain of `program` that serves, if the process is in the one that starts, and notes what holds it then.
    ///
    /// # Errors
    /// The kernel refuses the change: the process would go on with the rights of its start.
    pub(crate) fn settle(self, program: &str, layers: &mut Layers) -> Result<(), ConfineError> {
        let context = match self.context {
            None => {
                layers.missing.push("mandatory policy: none in this kernel".to_owned());
                return Ok(());
            }
            Some((Module::AppArmor, context)) if is_profile_of(&context, program) => {
                layers.active.push("apparmor");
                return Ok(());
            }
            Some((Module::AppArmor, _)) => String::new(),
            Some((Module::Selinux, context)) => context,
        };
        match serving(&context, program) {
            Some(Serving::Already) => {}
            Some(Serving::After(context)) => {
                attributes::set(Attribute::Current, &context).map_err(|e| ConfineError::new("selinux", e))?;
            }
            None => {
                layers.missing.push("mandatory policy: the process is in no domain of ours".to_owned());
                return Ok(());
            }
        }
        layers.note("selinux", if self.selinux_enforces { Ok(()) } else { Err("it does not enforce") });
        Ok(())
    }
}

/// Whether a process with this context is held by the profile of `program`, alone or with others: `one//&other (enforce)`.
fn is_profile_of(context: &str, program: &str) -> bool {
    let ours = format!("anchorhold-{}", program.replace('_', "-"));
    context.strip_suffix(" (enforce)").is_some_and(|names| names.split("//&").any(|name| name == ours))
}

/// In which category of SELinux a program begins that the calling thread starts.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// User and role of the keeper under the guest's policy; nothing is there to be set elsewhere.
    user_and_role: Option<String>,
}

impl Beginning {
    /// As the calling process is held.
    #[must_use]
    pub fn here() -> Self {
        let user_and_role = match attributes::current() {
            Some((Module::Selinux, context)) => {
                context.split_once(":keeper_t:").map(|(before, _)| before.to_owned())
            }
            _ => None,
        };
        Self { user_and_role }
    }

    /// Starts something with `start`, which begins as a process of `role` with this category, 0 to 15.
    ///
    /// # Errors
    /// The kernel refuses the context, or `start` fails.
    pub fn with_category<T>(
        &self,
        role: &Role,
        category: u16,
        start: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(user_and_role) = &self.user_and_role else { return start() };
        let context = format!("{user_and_role}:{}_start_t:s0:c{category}", role.name());
        attributes::set(Attribute::Exec, &context)?;
        let started = start();
        // The word holds until it is taken back: what is started next must not begin with it.
        attributes::set(Attribute::Exec, "\n")?;
        started
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Serving {
    Already,
    /// When this context is written.
    After(String),
}

/// How a process of `program` with this context comes into the type that serves; `None` if it is of another program.
fn serving(context: &str, program: &str) -> Option<Serving> {
    let mut parts = context.splitn(4, ':');
    let (user, role, kind, range) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    match kind.strip_prefix(program)? {
        "_t" => Some(Serving::Already),
        "_start_t" => Some(Serving::After(format!("{user}:{role}:{program}_t:{range}"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_holds_alone_or_stacked_and_only_if_it_is_enforced() {
        assert!(is_profile_of("anchorhold-worker (enforce)", "worker"));
        assert!(is_profile_of("anchorhold-keeper//&anchorhold-worker (enforce)", "worker"));
        for other in [
            "anchorhold-worker (complain)",
            "anchorhold-worker",
            "anchorhold-device-worker (enforce)",
            "unconfined",
        ] {
            assert!(!is_profile_of(other, "worker"), "{other}");
        }
    }

    #[test]
    fn each_role_has_a_domain_and_a_profile_by_its_name() {
        let policies = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
        let read = |name: &str| std::fs::read_to_string(policies.join(name)).unwrap();
        let (types, profiles) = (read("selinux/base.cil"), read("apparmor/anchorhold"));
        let reach = crate::Reach::default;
        for (role, begins_elsewhere) in [
            (Role::Worker, true),
            (Role::DeviceWorker(reach()), true),
            (Role::GpuAttester(reach()), true),
            (Role::GpuAcceptor(reach()), true),
            (Role::Gateway, true),
            (Role::Fetcher(reach()), true),
            (Role::Collector, false),
            (Role::Keeper(reach()), false),
        ] {
            let name = role.name();
            let has_type = |suffix: &str| types.contains(&format!("(type {name}{suffix})\n"));
            assert!(has_type("_t") && has_type("_exec_t"), "{name}");
            assert_eq!(has_type("_start_t"), begins_elsewhere, "{name}");
            let profile = format!("\nprofile anchorhold-{} ", name.replace('_', "-"));
            assert_eq!(profiles.matches(&profile).count(), 1, "{name}");
        }
    }

    #[test]
    fn without_the_policy_a_program_is_started_as_it_is() {
        let beginning = Beginning { user_and_role: None };
        assert_eq!(beginning.with_category(&Role::Worker, 3, || Ok(7)).unwrap(), 7);
    }

    #[test]
    fn a_starting_context_becomes_the_serving_one_with_its_category() {
        let after = serving("system_u:system_r:worker_start_t:s0:c3", "worker");
        assert_eq!(after, Some(Serving::After("system_u:system_r:worker_t:s0:c3".to_owned())));
        assert_eq!(serving("system_u:system_r:keeper_t:s0-s0:c0.c15", "keeper"), Some(Serving::Already));
        for other in [
            "system_u:system_r:worker_start_t:s0",
            "unconfined",
            "u:r:unconfined_t:s0",
            "a:b:gateway_x_t:s0",
            "",
        ] {
            assert_eq!(serving(other, "gateway"), None, "{other}");
        }
    }
}
