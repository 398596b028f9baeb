//! Records of the kernel's audit: any bytes of any kind are read or refused, and what is read is in words of a policy and within limits.
#![no_main]

use anchorhold_collector::record::{
    AVC, MAX_PERMISSIONS, MAX_WORD_BYTES, POLICY_LOAD, SECCOMP, SELINUX_ERROR, STATUS, read,
};
use anchorhold_ipc::{KernelEvent, PolicyDenial};
use libfuzzer_sys::fuzz_target;

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_WORD_BYTES
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

fuzz_target!(|text: &[u8]| {
    for kind in [SECCOMP, AVC, SELINUX_ERROR, POLICY_LOAD, STATUS, 1300] {
        let Ok(record) = read(kind, text) else { continue };
        match record.event {
            Some(KernelEvent::Denied(PolicyDenial { source, target, class, permissions, .. })) => {
                assert!(permissions.len() <= MAX_PERMISSIONS);
                let words = [source, class].into_iter().chain(target).chain(permissions);
                words.for_each(|word| assert!(is_word(&word), "{word}"));
            }
            Some(KernelEvent::Filtered { source, .. }) => assert!(source.is_none_or(|word| is_word(&word))),
            _ => {}
        }
    }
});
