//! The mandatory policy of the guest, SELinux's or AppArmor's: whether it is in force, and the last step into the domain that serves.
//!
//! A program of ours begins in a domain whose name ends in `_start_t`, in which it opens what it needs and gives up what it has
//! (`policies/selinux`). [`Domain::settle`] then changes to the domain without `_start`. There is no way back.

use crate::{ConfineError, Layers};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;

/// The longest context that is read; ours have 60 bytes.
const MAX_CONTEXT_BYTES: u64 = 256;
const CURRENT: &str = "/proc/self/attr/current";
const ENFORCE: &str = "/sys/fs/selinux/enforce";
/// The domain that the process is in, and its own file, opened while there still are paths.
pub(crate) struct Domain {
    context: Option<(String, File)>,
    selinux_enforces: bool,
}

impl Domain {
    /// Looks while `/proc` and `/sys` are still there.
    pub(crate) fn look() -> Self {
        let enforce = std::fs::read_to_string(ENFORCE);
        Self { context: own_context(), selinux_enforces: enforce.is_ok_and(|text| text.trim() == "1") }
    }

    /// Changes to the domain of `program` that serves, if the process is in the one that starts, and notes what holds it then.
    ///
    /// # Errors
    /// The kernel refuses the change: the process would go on with the rights of its start.
    pub(crate) fn settle(self, program: &str, layers: &mut Layers) -> Result<(), ConfineError> {
        let Some((context, file)) = self.context else {
            layers.missing.push("mandatory policy: none in this kernel".to_owned());
            return Ok(());
        };
        if context == format!("anchorhold-{program} (enforce)") {
            layers.active.push("apparmor");
            return Ok(());
        }
        let in_force = match serving(&context, program) {
            Some(Serving::Already) => self.selinux_enforces,
            Some(Serving::After(context)) => {
                // The file takes a context at its beginning and nowhere else.
                file.write_all_at(context.as_bytes(), 0).map_err(|e| ConfineError::new("selinux", e))?;
                self.selinux_enforces
            }
            None => {
                layers.missing.push("mandatory policy: the process is in no domain of ours".to_owned());
                return Ok(());
            }
        };
        layers.note("selinux", if in_force { Ok(()) } else { Err("it does not enforce") });
        Ok(())
    }
}

/// The process's context and the file to change it by; none in a kernel without a mandatory policy.
fn own_context() -> Option<(String, File)> {
    let file = File::options().read(true).write(true).open(CURRENT).ok()?;
    let mut context = String::new();
    (&file).take(MAX_CONTEXT_BYTES).read_to_string(&mut context).ok()?;
    let context = context.trim_end_matches(['\0', '\n']).to_owned();
    (!context.is_empty()).then_some((context, file))
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
