//! GGUF files that break a rule, to be sealed.

use crate::folder::Folder;
use crate::make::Cases;
use crate::package::options;
use crate::store::File;

/// A GGUF file being made, wrong wherever a case wants it.
struct Gguf {
    counts: (u64, u64),
    metadata: Vec<u8>,
    row: Vec<u8>,
    data: Vec<u8>,
}

fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

fn row(name: &[u8], dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut out = text(name);
    out.extend(u32::try_from(dims.len()).unwrap().to_le_bytes());
    dims.iter().for_each(|side| out.extend(side.to_le_bytes()));
    out.extend(kind.to_le_bytes());
    out.extend(offset.to_le_bytes());
    out
}

impl Gguf {
    fn new() -> Self {
        Self { counts: (1, 0), metadata: Vec::new(), row: row(b"a", &[4], 0, 0), data: vec![1; 16] }
    }

    fn key(key: &[u8], kind: u32, value: &[u8]) -> Self {
        let metadata = [&text(key)[..], &kind.to_le_bytes(), value].concat();
        Self { counts: (1, 1), metadata, ..Self::new() }
    }

    fn row(row: Vec<u8>) -> Self {
        Self { row, ..Self::new() }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = [&b"GGUF"[..], &3_u32.to_le_bytes()].concat();
        out.extend(self.counts.0.to_le_bytes());
        out.extend(self.counts.1.to_le_bytes());
        out.extend(&self.metadata);
        out.extend(&self.row);
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&self.data);
        out
    }
}

/// A case by id, code, reason and file.
type Case = (&'static str, &'static str, &'static str, Vec<u8>);

pub(crate) fn gguf(cases: &mut Cases) {
    for (id, code, why, bytes) in headers().into_iter().chain(metadata()).chain(rows()) {
        let folder: Folder = [("a.gguf".to_owned(), File::Whole(bytes))].into();
        cases.seal((id, code, why), &folder, &options(1), &[]);
    }
}

fn headers() -> Vec<Case> {
    let genuine = Gguf::new().bytes();
    let version = |version: u32| [&genuine[..4], &version.to_le_bytes(), &genuine[8..]].concat();
    vec![
        ("gguf-magic", "gguf_magic", "another magic", [b"GGML", &genuine[4..]].concat()),
        ("gguf-version-1", "gguf_version", "version 1", version(1)),
        ("gguf-big-endian", "gguf_version", "big-endian", version(3_u32.swap_bytes())),
        ("gguf-cut", "gguf_cut", "ends inside its header", genuine[..40].to_vec()),
        (
            "gguf-million-tensors",
            "tensors_count",
            "claims 1,000,000 tensors",
            Gguf { counts: (1_000_000, 0), ..Gguf::new() }.bytes(),
        ),
        (
            "gguf-no-tensor",
            "tensors_count",
            "no tensor",
            Gguf { counts: (0, 0), row: Vec::new(), data: Vec::new(), ..Gguf::new() }.bytes(),
        ),
        (
            "gguf-keys",
            "gguf_key_count",
            "claims 2^64 - 1 keys",
            Gguf { counts: (1, u64::MAX), ..Gguf::new() }.bytes(),
        ),
        ("gguf-end", "tensors_end", "bytes after the last tensor", [&genuine[..], &[0; 64]].concat()),
    ]
}

fn metadata() -> Vec<Case> {
    let array = |kind: u32, count: u64| [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
    let twice = Gguf {
        counts: (1, 2),
        metadata: [text(b"a"), vec![0, 0, 0, 0, 1]].concat().repeat(2),
        ..Gguf::new()
    };
    let split = Gguf::key(b"split.count", 2, &[2, 0]);
    vec![
        ("gguf-key-form", "gguf_key", "a key in capitals", Gguf::key(b"General", 0, &[0]).bytes()),
        ("gguf-key-length", "gguf_key", "a key of 129 bytes", Gguf::key(&[b'k'; 129], 0, &[0]).bytes()),
        ("gguf-key-twice", "gguf_duplicate_key", "a key twice", twice.bytes()),
        (
            "gguf-auto-map",
            "gguf_code_key",
            "a key that asks for code",
            Gguf::key(b"tokenizer.auto_map", 0, &[0]).bytes(),
        ),
        (
            "gguf-text-length",
            "gguf_string_length",
            "claims a text of 2^63 bytes",
            Gguf::key(b"a", 8, &(1_u64 << 63).to_le_bytes()).bytes(),
        ),
        (
            "gguf-text-utf8",
            "gguf_utf8",
            "a text that is no UTF-8",
            Gguf::key(b"a", 8, &text(b"\xff")).bytes(),
        ),
        (
            "gguf-array-length",
            "gguf_array_length",
            "claims an array of 2^62 elements",
            Gguf::key(b"a", 9, &array(10, 1 << 62)).bytes(),
        ),
        (
            "gguf-array-short",
            "gguf_cut",
            "an array longer than the file",
            Gguf::key(b"a", 9, &array(10, 1 << 20)).bytes(),
        ),
        (
            "gguf-nested-array",
            "gguf_nested_array",
            "an array of arrays",
            Gguf::key(b"a", 9, &array(9, 1)).bytes(),
        ),
        ("gguf-value-type", "gguf_value_type", "a type that is not known", Gguf::key(b"a", 13, &[0]).bytes()),
        ("gguf-bool", "gguf_bool", "a boolean of 2", Gguf::key(b"a", 7, &[2]).bytes()),
        (
            "gguf-alignment-zero",
            "gguf_alignment",
            "an alignment of 0",
            Gguf::key(b"general.alignment", 4, &[0; 4]).bytes(),
        ),
        (
            "gguf-alignment",
            "gguf_alignment",
            "an alignment of 12",
            Gguf::key(b"general.alignment", 4, &[12, 0, 0, 0]).bytes(),
        ),
        ("gguf-split-alone", "gguf_split", "one of two, alone", split.bytes()),
    ]
}

fn rows() -> Vec<Case> {
    vec![
        ("gguf-rank", "gguf_rank", "five dimensions", Gguf::row(row(b"a", &[4, 1, 1, 1, 1], 0, 0)).bytes()),
        ("gguf-rank-zero", "gguf_rank", "no dimension", Gguf::row(row(b"a", &[], 0, 0)).bytes()),
        (
            "gguf-tensor-type",
            "gguf_tensor_type",
            "a type that was taken out of ggml",
            Gguf::row(row(b"a", &[32], 4, 0)).bytes(),
        ),
        (
            "gguf-stored-type",
            "gguf_tensor_type",
            "a type that is never stored",
            Gguf::row(row(b"a", &[32], 9, 0)).bytes(),
        ),
        (
            "gguf-block",
            "gguf_block",
            "a row that is no multiple of the block",
            Gguf::row(row(b"a", &[31], 2, 0)).bytes(),
        ),
        (
            "gguf-offset",
            "gguf_offset",
            "a tensor that begins late",
            Gguf::row(row(b"a", &[4], 0, 32)).bytes(),
        ),
        (
            "gguf-overflow",
            "tensors_size",
            "a shape whose product is 2^64",
            Gguf::row(row(b"a", &[1 << 32, 1 << 32], 0, 0)).bytes(),
        ),
        (
            "gguf-name",
            "tensors_name",
            "a name of 513 bytes",
            Gguf::row(row(&[b'n'; 513], &[4], 0, 0)).bytes(),
        ),
    ]
}
