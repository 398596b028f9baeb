//! What holds the programs of this guest, for the attestation document.

use anchorhold_channel::document::RuntimeClaims;
use anchorhold_confine::Layers;
use anchorhold_rats::Sha256Digest;
use std::io::Read as _;
use std::path::Path;

const SELINUX: &str = "/sys/fs/selinux";
/// The longest policy that is read, in bytes; Debian's own has 1.8 MB.
const MAX_POLICY_BYTES: u64 = 8 * 1024 * 1024;

/// The SHA-256 digest of the policy that the kernel enforces; none where it enforces none or does not show it. Read before the keeper gives
/// up the files that tell.
pub(crate) fn selinux_policy() -> Option<Sha256Digest> {
    policy_in(Path::new(SELINUX))
}

fn policy_in(folder: &Path) -> Option<Sha256Digest> {
    let enforces = std::fs::read_to_string(folder.join("enforce")).ok()?.trim() == "1";
    let file = std::fs::File::open(folder.join("policy")).ok().filter(|_| enforces)?;
    let mut policy = Vec::new();
    file.take(MAX_POLICY_BYTES + 1).read_to_end(&mut policy).ok()?;
    let fits = u64::try_from(policy.len()).is_ok_and(|bytes| (1..=MAX_POLICY_BYTES).contains(&bytes));
    fits.then(|| Sha256Digest::of(&policy))
}

/// What the document says.
pub(crate) fn claims(selinux_policy: Option<Sha256Digest>, layers: &Layers) -> RuntimeClaims {
    let layers = layers.active.iter().map(|layer| (*layer).to_owned()).collect();
    RuntimeClaims { selinux_policy, layers }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_policy_that_is_enforced_is_named() {
        let folder = std::env::temp_dir().join(format!("anchorhold-selinux-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &[u8]| std::fs::write(folder.join(name), text).unwrap();
        assert_eq!(policy_in(&folder), None);
        write("policy", b"a policy");
        for (enforce, is_named) in [("0", false), ("1", true), ("1\n", true), ("", false)] {
            write("enforce", enforce.as_bytes());
            assert_eq!(policy_in(&folder), is_named.then(|| Sha256Digest::of(b"a policy")), "{enforce:?}");
        }
        write("policy", b"");
        assert_eq!(policy_in(&folder), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
