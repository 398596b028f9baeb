//! The witness protocol: no input panics, what is read has one spelling, and nothing is taken that the log's key did not
//! sign or that does not follow from what is known.
#![no_main]

use anchorhold_audit_log::cosignature::{WitnessKey, cosignatures};
use anchorhold_audit_log::merkle::TreeHead;
use anchorhold_audit_log::note::Note;
use anchorhold_audit_log::witness::{AddCheckpoint, judge, with_signatures};
use anchorhold_audit_log::{Checkpoint, Hash, Origin, PublicKey, Signer, VerifierKey};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    Signer::from_seed(Origin::new("log").expect("a name"), &[7; 32]).expect("every seed is a key")
});

fuzz_target!(|bytes: &[u8]| {
    let witness = WitnessKey::new("w", PublicKey::new([1; 32])).expect("a name");
    if let Ok(request) = AddCheckpoint::from_bytes(bytes) {
        assert_eq!(request.to_bytes(), bytes);
        let stranger = VerifierKey::new(request.origin(), PublicKey::new([2; 32]));
        if let Ok(stranger) = stranger {
            assert!(judge(&request, &stranger, &TreeHead::empty()).is_err(), "nobody signed this");
        }
    }
    // A checkpoint that the log did sign, with whatever proof and head the input says.
    if let Some((head, rest)) = bytes.split_first_chunk::<48>() {
        let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|byte| head[at + byte]));
        let root = Hash::new(std::array::from_fn(|byte| head[16 + byte]));
        let (known, new) =
            (TreeHead { size: word(0), root }, TreeHead { size: word(8), root: Hash::of(rest) });
        let note = Checkpoint::new("log", new).sign(&SIGNER).expect("a checkpoint is text");
        let (hashes, _) = rest.as_chunks::<32>();
        let proof = hashes.iter().map(|hash| Hash::new(*hash)).collect();
        if let Ok(request) = AddCheckpoint::new(known.size, proof, note)
            && let Ok(witnessed) = judge(&request, SIGNER.key(), &known)
        {
            let same = known.size == new.size && known.root == new.root;
            assert!(known.size == 0 || same, "a proof leads to a root by chance");
            assert_eq!(witnessed.checkpoint().head, new);
        }
        if let Ok(note) = with_signatures(&Checkpoint::new("log", new).sign(&SIGNER).expect("text"), rest) {
            let note = Note::parse(&note).expect("it was read before");
            assert!(cosignatures(&note, &[witness]).unwrap_or_default().is_empty(), "nobody has this key");
        }
    }
});
