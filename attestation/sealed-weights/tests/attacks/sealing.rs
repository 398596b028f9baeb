//! What a package is: the same bytes from the same inputs, whole models in every layout, sizes hidden when asked.

use std::collections::BTreeMap;
use std::fs::{self, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anchorhold_sealed_weights::{
    Dtype, Effort, Error, Padding, Role, SealOptions, SegmentSize, SourceRule, Suite, seal,
};
use tempfile::TempDir;

use crate::support::*;

/// Every file of a package by its path.
pub(crate) fn contents(package: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    for folder in [package.to_owned(), package.join("objects")] {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                let name = entry.path().strip_prefix(package).unwrap().to_owned();
                out.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    out
}

#[test]
fn the_same_inputs_give_the_same_bytes_from_other_folders_paths_and_times() {
    let (one, other) = (model_folder(), model_folder());
    let past = SystemTime::now() - Duration::from_secs(86_400);
    for entry in fs::read_dir(other.path()).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            let file = fs::File::options().write(true).open(entry.path()).unwrap();
            file.set_times(FileTimes::new().set_modified(past).set_accessed(past)).unwrap();
        }
    }
    let parent = tempfile::tempdir().unwrap();
    for padding in [Padding::None, Padding::Padme] {
        for suite in Suite::ALL {
            let options = SealOptions { suite, padding, ..options(1, SegmentSize::Mib1) };
            let name = format!("{}-{suite}", padding.as_str());
            let (first, second) = (parent.path().join(&name), parent.path().join("elsewhere").join(&name));
            fs::create_dir_all(second.parent().unwrap()).unwrap();
            seal(one.path(), &first, &options, &owner(), &KEY, &threads(1)).unwrap();
            seal(other.path(), &second, &options, &owner(), &KEY, &threads(7)).unwrap();
            assert!(contents(&first) == contents(&second), "{name}");
        }
    }
}

#[test]
fn one_changed_byte_changes_every_object() {
    let fixture = Fixture::new();
    let before = contents(&fixture.package());
    let path = fixture.model.path().join("tokenizer.json");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.iter().rposition(|byte| *byte == b'9').unwrap();
    bytes[at] = b'8';
    fs::write(&path, bytes).unwrap();
    let after = contents(&fixture.seal("after", 1));
    assert_eq!(before.len(), after.len());
    let objects = |contents: &BTreeMap<PathBuf, Vec<u8>>| -> Vec<PathBuf> {
        contents.keys().filter(|path| path.starts_with("objects")).cloned().collect()
    };
    assert!(objects(&before).iter().all(|path| !after.contains_key(path)), "no id appears twice");
    // Nor does any initialisation vector, although all other files are the same.
    let vectors = |contents: &BTreeMap<PathBuf, Vec<u8>>| -> Vec<Vec<u8>> {
        let data = contents.iter().filter(|(path, _)| path.extension().is_none());
        data.map(|(_, bytes)| bytes[10..42].to_vec()).collect()
    };
    assert!(vectors(&before).iter().all(|vector| !vectors(&after).contains(vector)));
}

#[test]
fn packages_of_both_suites_load_and_are_told_apart() {
    let fixture = Fixture::new();
    let out = fixture.package().with_file_name("blake3");
    let blake3 = SealOptions { suite: Suite::Blake3, ..options(1, SegmentSize::Mib1) };
    seal_with(fixture.model.path(), &out, &blake3);
    assert_eq!(verified(&out).suite(), Suite::Blake3);
    consume(&out).unwrap();
    let model = opened(&out);
    assert_eq!(*model.file(Role::Tokenizer).unwrap(), fixture.plain(Role::Tokenizer));
    let file = data(&out, Role::Weights);
    refuses(&out, &file, |bytes| bytes[100_000] ^= 1, &["segment"]);
    // Leaves of the other suite lead nowhere.
    let genuine = fs::read(tree(&out, Role::Weights)).unwrap();
    write_tree(&out, Role::Weights);
    assert_eq!(stage(&out), "tree");
    fs::write(tree(&out, Role::Weights), genuine).unwrap();
    consume(&out).unwrap();
}

/// Splits the model's weights into two numbered files with an index.
fn shard(model: &Path) {
    let bytes = fs::read(model.join("model.safetensors")).unwrap();
    let header_len = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    let mut shards = [Vec::new(), Vec::new()];
    let mut map = serde_json::Map::new();
    let mut tensors: Vec<_> = header.iter().collect();
    tensors.sort_by_key(|(_, tensor)| {
        (tensor["data_offsets"][0].as_u64().unwrap(), tensor["data_offsets"][1].as_u64().unwrap())
    });
    for (at, (name, tensor)) in tensors.into_iter().enumerate() {
        shards[usize::from(at > 1)].push((name, tensor));
        let file = format!("model-{:05}-of-00002.safetensors", 1 + usize::from(at > 1));
        map.insert(name.clone(), file.into());
    }
    for (number, shard) in shards.iter().enumerate() {
        let mut header = serde_json::Map::new();
        let mut data = Vec::new();
        for (name, tensor) in shard {
            let range = |at: usize| usize::try_from(tensor["data_offsets"][at].as_u64().unwrap()).unwrap();
            let begin = data.len();
            data.extend_from_slice(&bytes[8 + header_len + range(0)..8 + header_len + range(1)]);
            let mut tensor = (*tensor).clone();
            tensor["data_offsets"] = serde_json::json!([begin, data.len()]);
            header.insert((*name).clone(), tensor);
        }
        let mut header = serde_json::to_vec(&header).unwrap();
        header.resize(header.len().next_multiple_of(8), b' ');
        let file = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
        fs::write(model.join(format!("model-{:05}-of-00002.safetensors", number + 1)), file).unwrap();
    }
    fs::remove_file(model.join("model.safetensors")).unwrap();
    let index = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map });
    fs::write(model.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

fn sharded() -> TempDir {
    let model = model_folder();
    shard(model.path());
    model
}

/// The bytes of every tensor by name.
fn tensors(package: &Path) -> BTreeMap<String, (Dtype, Vec<u8>)> {
    let model = opened(package);
    let memory = model.load(&threads(3)).unwrap();
    let named = model.index().tensors().enumerate();
    named
        .map(|(at, tensor)| (tensor.name.clone(), (tensor.dtype, memory.tensor(at).unwrap().to_vec())))
        .collect()
}

#[test]
fn sharded_models_load_the_same_tensors_in_every_layout() {
    let fixture = Fixture::new();
    let expected = tensors(&fixture.package());
    let model = sharded();
    for padding in [Padding::None, Padding::Padme, Padding::PowerOfTwo] {
        for suite in Suite::ALL {
            let out = fixture.package().with_file_name(format!("{}-{suite}", padding.as_str()));
            seal_with(model.path(), &out, &SealOptions { suite, padding, ..options(1, SegmentSize::Mib1) });
            consume(&out).unwrap();
            assert!(tensors(&out) == expected, "{} {suite}", padding.as_str());
            let opened = opened(&out);
            assert_eq!(opened.roles().filter(|role| *role == Role::Weights).count(), 2);
            assert_eq!(opened.index().files().len(), 2);
            let plain: u64 = (1..=2)
                .map(|at| {
                    fs::metadata(model.path().join(format!("model-{at:05}-of-00002.safetensors")))
                        .unwrap()
                        .len()
                })
                .sum();
            assert_eq!(opened.weight_bytes(), plain);
        }
    }
}

#[test]
fn refuses_sharded_models_that_are_not_whole_or_not_as_indexed() {
    let refusal = |alter: &dyn Fn(&Path)| {
        let model = sharded();
        alter(model.path());
        let out = tempfile::tempdir().unwrap();
        seal(
            model.path(),
            &out.path().join("out"),
            &options(1, SegmentSize::Mib1),
            &owner(),
            &KEY,
            &Effort::default(),
        )
        .unwrap_err()
    };
    let first = "model-00001-of-00002.safetensors";
    let index = "model.safetensors.index.json";
    let source = |name: &str, rule| Error::Source { name: name.to_owned(), rule };
    let second = "model-00002-of-00002.safetensors";
    assert_eq!(
        refusal(&|model| fs::remove_file(model.join(first)).unwrap()),
        source(second, SourceRule::Shards)
    );
    assert_eq!(
        refusal(&|model| fs::remove_file(model.join(second)).unwrap()),
        source(first, SourceRule::Shards)
    );
    assert_eq!(
        refusal(&|model| fs::remove_file(model.join(index)).unwrap()),
        source(index, SourceRule::IndexPresence)
    );
    let both = |model: &Path| _ = fs::copy(model.join(first), model.join("model.safetensors")).unwrap();
    assert_eq!(refusal(&both), source("model.safetensors", SourceRule::SeveralWeights));
    let gguf = |model: &Path| fs::write(model.join("a.gguf"), "x").unwrap();
    assert_eq!(refusal(&gguf), source(second, SourceRule::SeveralWeights));
    let edit = |from: &'static str, to: &'static str| {
        move |model: &Path| {
            let text = fs::read_to_string(model.join(index)).unwrap();
            assert!(text.contains(from));
            fs::write(model.join(index), text.replacen(from, to, 1)).unwrap();
        }
    };
    assert_eq!(
        refusal(&edit("\"tail\":\"model-00002", "\"tail\":\"model-00001")).code(),
        "weights_index_other_file"
    );
    assert_eq!(refusal(&edit("\"tail\"", "\"tails\"")).code(), "weights_index_other_file");
    assert_eq!(
        refusal(&edit(
            "\"tail\":\"model-00002-of-00002.safetensors\"",
            "\"half\":\"model-00001-of-00002.safetensors\""
        ))
        .code(),
        "json_duplicate_key"
    );
    let twice = |model: &Path| _ = fs::copy(model.join(first), model.join(second)).unwrap();
    assert_eq!(refusal(&twice).code(), "tensors_duplicate_name");
    let lone = model_folder();
    fs::write(lone.path().join(index), r#"{"weight_map":{}}"#).unwrap();
    let out = tempfile::tempdir().unwrap();
    let refused = seal(
        lone.path(),
        &out.path().join("out"),
        &options(1, SegmentSize::Mib1),
        &owner(),
        &KEY,
        &Effort::default(),
    );
    assert_eq!(refused, Err(source(index, SourceRule::IndexPresence)));
}

#[test]
fn case_17_refuses_swapped_shards() {
    let model = sharded();
    let parent = tempfile::tempdir().unwrap();
    let package = parent.path().join("package");
    seal_with(model.path(), &package, &options(1, SegmentSize::Mib1));
    let ids: Vec<String> = verified(&package)
        .objects()
        .iter()
        .filter(|object| object.role() == Role::Weights)
        .map(|object| object.id().to_string())
        .collect();
    let [first, second] = ids.as_slice() else { panic!("two shards") };
    let objects = package.join("objects");
    for suffix in ["", ".tree"] {
        let (a, b) = (objects.join(format!("{first}{suffix}")), objects.join(format!("{second}{suffix}")));
        fs::rename(&a, objects.join("x")).unwrap();
        fs::rename(&b, &a).unwrap();
        fs::rename(objects.join("x"), &b).unwrap();
    }
    // The shards differ in length, which is what is looked at first.
    assert!(matches!(stage(&package), "truncated" | "trailing"));
}

#[test]
fn padding_hides_number_roles_and_sizes() {
    let parent = tempfile::tempdir().unwrap();
    let (one, many) = (model_folder(), sharded());
    // About as long, of other files: in public both are a card and a bundle of the same lengths.
    fs::write(many.path().join("generation_config.json"), "{}").unwrap();
    for padding in [Padding::Padme, Padding::PowerOfTwo] {
        let options = SealOptions { padding, ..options(1, SegmentSize::Mib1) };
        let public = |model: &TempDir, name: &str| {
            let out = parent.path().join(format!("{}-{name}", padding.as_str()));
            seal_with(model.path(), &out, &options);
            consume(&out).unwrap();
            let manifest = verified(&out);
            let objects = std::iter::once(manifest.card()).chain(manifest.objects());
            objects.map(|object| (object.role(), object.plaintext_len())).collect::<Vec<_>>()
        };
        let (a, b) = (public(&one, "one"), public(&many, "many"));
        assert_eq!(a, b);
        assert_eq!(a.iter().map(|object| object.0).collect::<Vec<_>>(), [Role::Card, Role::Bundle]);
        assert_eq!(a[0].1, 65_536);
        if padding == Padding::PowerOfTwo {
            assert!(a[1].1.is_power_of_two());
        }
    }
}

#[test]
fn case_15_padding_is_authenticated_like_the_rest() {
    let model = model_folder();
    let parent = tempfile::tempdir().unwrap();
    let package = parent.path().join("package");
    let padding = SealOptions { padding: Padding::PowerOfTwo, ..options(1, SegmentSize::Mib1) };
    seal_with(model.path(), &package, &padding);
    let object = package.join("objects").join(verified(&package).objects()[0].id().to_string());
    let end = usize::try_from(verified(&package).objects()[0].ciphertext_len()).unwrap();
    refuses(&package, &object, |bytes| bytes[end - 20] ^= 1, &["segment"]);
    refuses(&package, &object, |bytes| bytes.truncate(end - 1), &["truncated"]);
    // A load of the tensors does not read what is padding alone, and gets the same tensors.
    let mut bytes = fs::read(&object).unwrap();
    bytes[end - 20] ^= 1;
    fs::write(&object, bytes).unwrap();
    opened(&package).load(&threads(2)).unwrap();
}

#[test]
fn case_22_refuses_a_bundle_that_is_not_laid_out_as_its_card_says() {
    let fixture = Fixture::new();
    let package = fixture.package().with_file_name("bundle");
    seal_with(
        fixture.model.path(),
        &package,
        &SealOptions { padding: Padding::Padme, ..options(1, SegmentSize::Mib1) },
    );
    let genuine = decrypted(&package, Role::Card);
    let card: serde_json::Value = serde_json::from_slice(&genuine).unwrap();
    let refuses = |code: &str, alter: &dyn Fn(&mut serde_json::Value)| {
        let mut card = card.clone();
        alter(&mut card);
        let mut bytes = serde_json::to_vec(&card).unwrap();
        bytes.resize(65_536, b' ');
        reseal(&package, Role::Card, &bytes);
        assert_eq!(consume(&package).unwrap_err().code(), code);
    };
    refuses("card_place", &|card| card["files"][1]["offset"] = 8192.into());
    refuses("card_place", &|card| card["files"][0]["len"] = 0.into());
    refuses("card_place", &|card| card["files"][0]["len"] = ((1 << 20) + 1).into());
    refuses("card_place", &|card| card["files"][3]["len"] = u64::MAX.into());
    refuses("card_padding", &|card| card["files"][3]["len"] = (1 << 30).into());
    refuses("card_padding_bytes", &|card| card["padding"] = "none".into());
    refuses("mixed_card_files", &|card| card["files"][0]["id"] = "00".repeat(16).into());
    refuses("card_place", &|card| card["files"].as_array_mut().unwrap().swap(0, 1));
    refuses("card_file_order", &|card| {
        for field in ["role", "name"] {
            let first = card["files"][0][field].clone();
            card["files"][0][field] = card["files"][2][field].clone();
            card["files"][2][field] = first;
        }
    });
    let none =
        String::from_utf8(serde_json::to_vec(&card).unwrap()).unwrap().replace("\"padme\"", "\"none\"");
    reseal(&package, Role::Card, none.as_bytes());
    assert_eq!(consume(&package).unwrap_err().code(), "card_padding");
    reseal(&package, Role::Card, &genuine);
    consume(&package).unwrap();
    let mut plain = decrypted(&package, Role::Bundle);
    *plain.last_mut().unwrap() = 1;
    reseal(&package, Role::Bundle, &plain);
    assert_eq!(consume(&package).unwrap_err().code(), "card_padding_bytes");
}
