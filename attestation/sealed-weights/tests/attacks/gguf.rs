//! GGUF packages: files of the reference writer, sealed and loaded as bytes.

use std::fs;
use std::path::Path;

use anchorhold_sealed_weights::{
    Container, Dtype, Effort, Gguf, GgufValue, Padding, Role, SealOptions, SegmentSize, seal,
};
use tempfile::TempDir;

use crate::support::*;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/gguf");
/// Name, type, shape outermost first, offset and bytes in `tiny.gguf`, as the reference reader gives them.
const TENSORS: [(&str, Dtype, &[u64], usize, usize); 5] = [
    ("token_embd.weight", Dtype::F32, &[4, 64], 960, 1024),
    ("blk.0.attn_q.weight", Dtype::Q8_0, &[3, 64], 1984, 204),
    ("blk.0.ffn_up.weight", Dtype::Q4_0, &[5, 32], 2208, 90),
    ("output_norm.weight", Dtype::F16, &[7], 2304, 14),
    ("scale", Dtype::I32, &[5], 2336, 20),
];

fn folder(names: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        fs::copy(Path::new(VECTORS).join(name), dir.path().join(name)).unwrap();
    }
    dir
}

fn split() -> TempDir {
    folder(&[
        "tiny-split-00001-of-00003.gguf",
        "tiny-split-00002-of-00003.gguf",
        "tiny-split-00003-of-00003.gguf",
    ])
}

#[test]
fn reads_what_the_reference_writer_wrote() {
    let file = fs::read(Path::new(VECTORS).join("tiny.gguf")).unwrap();
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    assert_eq!(gguf.get("general.architecture"), Some(GgufValue::Text("llama")));
    assert_eq!(gguf.get("llama.context_length"), Some(GgufValue::Unsigned(64)));
    assert!(matches!(
        gguf.get("tokenizer.ggml.tokens"),
        Some(GgufValue::Array { element_type: 8, count: 4, .. })
    ));
    for (tensor, (name, dtype, shape, offset, len)) in gguf.table().tensors().iter().zip(TENSORS) {
        assert_eq!((tensor.name.as_str(), tensor.dtype, tensor.shape.as_slice()), (name, dtype, shape));
        let begin = usize::try_from(gguf.table().data_start() + tensor.begin).unwrap();
        assert_eq!((begin, usize::try_from(tensor.len()).unwrap()), (offset, len), "{name}");
    }
}

#[test]
fn one_file_and_split_files_load_the_same_bytes() {
    let file = fs::read(Path::new(VECTORS).join("tiny.gguf")).unwrap();
    let parent = tempfile::tempdir().unwrap();
    for (name, model) in [("one", folder(&["tiny.gguf"])), ("split", split())] {
        for padding in [Padding::None, Padding::Padme] {
            let out = parent.path().join(format!("{name}-{}", padding.as_str()));
            seal_with(model.path(), &out, &SealOptions { padding, ..options(1, SegmentSize::Mib1) });
            consume(&out).unwrap();
            let opened = opened(&out);
            assert_eq!(opened.index().container(), Container::Gguf);
            let memory = opened.load(&threads(2)).unwrap();
            for (name, dtype, shape, offset, len) in TENSORS {
                let at = opened.index().position(name).unwrap();
                let tensor = opened.index().tensors().nth(at).unwrap();
                assert_eq!((tensor.dtype, tensor.shape.as_slice()), (dtype, shape));
                assert!(memory.tensor(at).unwrap() == &file[offset..offset + len], "{name}");
            }
        }
    }
}

#[test]
fn gguf_needs_no_config_and_may_have_one() {
    let model = folder(&["tiny.gguf"]);
    fs::write(model.path().join("config.json"), "{}").unwrap();
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("package");
    seal_with(model.path(), &out, &options(1, SegmentSize::Mib1));
    assert_eq!(opened(&out).roles().collect::<Vec<_>>(), [Role::Config, Role::Weights]);
    consume(&out).unwrap();
}

#[test]
fn case_22_refuses_split_files_that_are_not_where_they_say() {
    let parent = tempfile::tempdir().unwrap();
    let code = |model: &TempDir| {
        let out = parent.path().join("package");
        seal(model.path(), &out, &options(1, SegmentSize::Mib1), &owner(), &KEY, &Effort::default())
            .unwrap_err()
            .code()
    };
    let swapped = split();
    let name = |number: u32| swapped.path().join(format!("tiny-split-{number:05}-of-00003.gguf"));
    fs::rename(name(2), swapped.path().join("x")).unwrap();
    fs::rename(name(3), name(2)).unwrap();
    fs::rename(swapped.path().join("x"), name(3)).unwrap();
    assert_eq!(code(&swapped), "gguf_split");
    let alone = folder(&["tiny-split-00003-of-00003.gguf"]);
    fs::rename(alone.path().join("tiny-split-00003-of-00003.gguf"), alone.path().join("alone.gguf")).unwrap();
    assert_eq!(code(&alone), "gguf_split");
    let partial = folder(&["tiny-split-00001-of-00003.gguf"]);
    assert_eq!(code(&partial), "source_shards");
}

#[test]
fn a_header_longer_than_the_first_read_is_read_whole() {
    let file = fs::read(Path::new(VECTORS).join("tiny.gguf")).unwrap();
    // One more key, with a text of 1 MiB, before all others.
    let keys = u64::from_le_bytes(file[16..24].try_into().unwrap()) + 1;
    let text = "x".repeat(1 << 20);
    let mut long = [&file[..16], &keys.to_le_bytes()].concat();
    long.extend((1_u64).to_le_bytes());
    long.extend(b"x");
    long.extend(8_u32.to_le_bytes());
    long.extend((text.len() as u64).to_le_bytes());
    long.extend(text.as_bytes());
    let table = Gguf::parse(&file, file.len() as u64).unwrap().table().clone();
    let header_end = usize::try_from(table.data_start()).unwrap();
    // The old header ends with its padding, which is as long as it was only by chance; take it anew.
    let mut header = file[24..header_end].to_vec();
    while header.last() == Some(&0) {
        header.pop();
    }
    // The last tensor's offset ends in zero bytes of its own.
    let offset = table.tensors().last().unwrap().begin.to_le_bytes();
    let kept = header.len() - offset.iter().position(|byte| *byte == 0).unwrap();
    header.truncate(kept);
    header.extend(offset);
    long.extend(&header);
    long.resize(long.len().next_multiple_of(32), 0);
    long.extend(&file[header_end..]);
    assert!(Gguf::parse(&long, long.len() as u64).is_ok());
    let model = tempfile::tempdir().unwrap();
    fs::write(model.path().join("long.gguf"), long).unwrap();
    let out = model.path().with_extension("package");
    seal_with(model.path(), &out, &options(1, SegmentSize::Mib1));
    consume(&out).unwrap();
    fs::remove_dir_all(out).unwrap();
}
