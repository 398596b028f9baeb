//! Case 22: what hostile files can make the parsers take is bounded, measured by a counting allocator and not by a clock.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]
#![expect(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use anchorhold_sealed_weights::{
    Error, Gguf, MAX_TENSORS, Manifest, ModelSignature, SignerKey, WeightsIndex, parse_safetensors,
};

/// Counts what is allocated and how much that is at most. There is one test, so nobody else allocates meanwhile.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(NOW.fetch_add(layout.size(), Ordering::SeqCst) + layout.size(), Ordering::SeqCst);
        // SAFETY: the caller keeps the contract of this function, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller keeps the contract of this function, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `run` has allocated at one time.
fn most(run: impl FnOnce()) -> usize {
    let before = NOW.load(Ordering::SeqCst);
    MOST.store(before, Ordering::SeqCst);
    run();
    MOST.load(Ordering::SeqCst) - before
}

fn safetensors(header: &str) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
}

/// A table of so many tensors of one byte.
fn table(count: usize) -> String {
    let mut header = String::from("{");
    for at in 0..count {
        let comma = if at == 0 { "" } else { "," };
        let end = at + 1;
        write!(header, r#"{comma}"{at:x}":{{"dtype":"U8","shape":[1],"data_offsets":[{at},{end}]}}"#)
            .unwrap();
    }
    header + "}"
}

fn gguf(counts: (u64, u64), rest: &[u8]) -> Vec<u8> {
    [&b"GGUF\x03\0\0\0"[..], &counts.0.to_le_bytes(), &counts.1.to_le_bytes(), rest].concat()
}

/// A metadata key `a` with an array of this type and claimed count.
fn array(kind: u32, count: u64, bytes: &[u8]) -> Vec<u8> {
    let head =
        [&1_u64.to_le_bytes()[..], b"a", &9_u32.to_le_bytes(), &kind.to_le_bytes(), &count.to_le_bytes()];
    [head.concat(), bytes.to_vec()].concat()
}

/// A hostile input, its parser, and how much it may take.
struct Hostile {
    what: &'static str,
    input: Vec<u8>,
    parse: fn(&[u8]) -> Result<(), Error>,
    most: usize,
}

fn read_safetensors(bytes: &[u8]) -> Result<(), Error> {
    parse_safetensors(bytes, u64::MAX).map(drop)
}

fn read_gguf(bytes: &[u8]) -> Result<(), Error> {
    Gguf::parse(bytes, u64::MAX).map(drop)
}

fn read_index(bytes: &[u8]) -> Result<(), Error> {
    WeightsIndex::parse(bytes).map(drop)
}

fn read_signature(bytes: &[u8]) -> Result<(), Error> {
    let der =
        [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], &[1; 32]].concat();
    ModelSignature::verify(bytes, &SignerKey::from_der(&der)?).map(drop)
}

fn read_manifest(bytes: &[u8]) -> Result<(), Error> {
    Manifest::verify(bytes, &[1; 32]).map(drop)
}

const MIB: usize = 1 << 20;

fn hostile() -> Vec<Hostile> {
    let texts: Vec<u8> = [1_u64.to_le_bytes().to_vec(), b"x".to_vec()].concat().repeat(1 << 20);
    let index = |count: usize| {
        let entries: Vec<String> = (0..count).map(|at| format!("\"{at:x}\":\"f\"")).collect();
        format!("{{\"weight_map\":{{{}}}}}", entries.join(",")).into_bytes()
    };
    let case = |what, input, parse, most| Hostile { what, input, parse, most };
    vec![
        case(
            "a header of 100 MB that is not there",
            (100_u64 << 20).to_le_bytes().to_vec(),
            read_safetensors,
            4096,
        ),
        case("a million tensors", safetensors(&table(1_000_000)), read_safetensors, 4096),
        case("a tensor too many", safetensors(&table(MAX_TENSORS + 1)), read_safetensors, 24 * MIB),
        case(
            "8 MiB of brackets",
            safetensors(&format!("{{\"a\":{}", "[".repeat(8 * MIB - 5))),
            read_safetensors,
            MIB,
        ),
        case(
            "8 MiB of one name",
            safetensors(&format!("{{\"{}", "n".repeat(8 * MIB - 2))),
            read_safetensors,
            17 * MIB,
        ),
        case(
            "metadata without end",
            safetensors(&format!("{{\"__metadata__\":{{{}", "\"a\":\"b\",".repeat(1_000_000))),
            read_safetensors,
            MIB,
        ),
        case(
            "a shape without end",
            safetensors(&format!("{{\"a\":{{\"shape\":[{}", "1,".repeat(3 * MIB))),
            read_safetensors,
            MIB,
        ),
        case("2^64 tensors", gguf((u64::MAX, 0), &[]), read_gguf, 4096),
        case("65,536 tensors that are not there", gguf((65_536, 0), &[]), read_gguf, 4096),
        case("2^64 keys", gguf((1, u64::MAX), &[]), read_gguf, 4096),
        case("an array of 2^64", gguf((1, 1), &array(12, u64::MAX, &[])), read_gguf, 4096),
        case("an array of 2^21 that is not there", gguf((1, 1), &array(12, 1 << 21, &[])), read_gguf, 4096),
        case("2^20 texts", gguf((1, 1), &array(8, 1 << 20, &texts)), read_gguf, 4096),
        case("a key of 2^64 bytes", gguf((1, 1), &u64::MAX.to_le_bytes()), read_gguf, 4096),
        case("an index of 300,000 tensors", index(300_000), read_index, 64 * MIB),
        case("16 MiB of brackets", vec![b'['; 16 * MIB], read_index, 4096),
        case("a signature of 16 MiB", vec![b'{'; 16 * MIB], read_signature, 4096),
        case("1 MiB of brackets", vec![b'['; MIB], read_signature, MIB),
        case("a manifest of 16 MiB", vec![b'{'; 16 * MIB], read_manifest, 4096),
        case("256 KiB of brackets", vec![b'['; 256 << 10], read_manifest, MIB),
    ]
}

#[test]
fn case_22_hostile_files_take_no_more_memory_than_their_limits() {
    for Hostile { what, input, parse, most: limit } in hostile() {
        let mut refused = false;
        let taken = most(|| refused = parse(&input).is_err());
        assert!(refused, "{what} is accepted");
        assert!(taken <= limit, "{what}: {taken} bytes, at most {limit} are allowed");
    }
    // The measure measures: what is taken on purpose is seen.
    assert!(most(|| drop(vec![1_u8; MIB])) >= MIB);
}
