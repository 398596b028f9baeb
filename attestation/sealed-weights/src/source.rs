//! The folder to seal: which files it may hold, and what must be true of each before it is sealed.

use std::fs::{self, File};
use std::path::Path;

use zeroize::Zeroizing;

use crate::dtype::Container;
use crate::error::Error;
use crate::gguf::{Gguf, MAX_GGUF_HEADER_LEN};
use crate::json::check_file;
use crate::manifest::MAX_WEIGHTS;
use crate::names::{SetRefusal, WeightsName, WeightsSet};
use crate::package::{open_beneath, open_dir};
use crate::reader::read_full;
use crate::role::Role;
use crate::rules::{GgufRule, SourceRule};
use crate::safetensors::{self, parse_safetensors};
use crate::tensors::{FileTable, TensorIndex};
use crate::weights_index::WeightsIndex;

/// What is read of a GGUF file at first; four times as much each time that its header turns out to be longer.
const FIRST_READ: u64 = 1 << 20;

/// One file to be sealed, with the length it had when it was opened.
pub(crate) struct SourceFile {
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) len: u64,
    content: Content,
}

enum Content {
    /// A small file, as it was checked.
    Memory(Zeroizing<Vec<u8>>),
    /// Weights, which are read when they are needed.
    File(File),
}

impl SourceFile {
    /// Fills `out` with the bytes at `offset`.
    pub(crate) fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let read = match &self.content {
            Content::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let found = bytes.get(start..).unwrap_or_default();
                out.iter_mut().zip(found).map(|(out, byte)| *out = *byte).count()
            }
            Content::File(file) => read_full(file, out, offset).map_err(Error::io("reading a file"))?,
        };
        if read < out.len() { Err(self.changed()) } else { Ok(()) }
    }

    /// Refuses a file that has another length than when it was opened.
    pub(crate) fn check_len(&self) -> Result<(), Error> {
        let len = match &self.content {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::File(file) => file.metadata().map_err(Error::io("sizing a file"))?.len(),
        };
        if len == self.len { Ok(()) } else { Err(self.changed()) }
    }

    pub(crate) fn changed(&self) -> Error {
        refused(&self.name, SourceRule::Changed)
    }

    fn head(&self, len: u64) -> Result<Vec<u8>, Error> {
        let mut head = vec![0; usize::try_from(len).map_err(|_| self.changed())?];
        self.read_at(0, &mut head)?;
        Ok(head)
    }
}

/// A folder whose every entry is a known file, in the order of a package: [`Role::NAMED`], then the weights by number.
pub(crate) struct Source {
    pub(crate) files: Vec<SourceFile>,
}

impl Source {
    /// Opens a model folder. Anything in it that is not one of the known files is refused, not left out.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let mut weights = Vec::new();
        walk(dir, "", &mut weights)?;
        weights.sort();
        let root = open_dir(dir)?;
        let mut files = Vec::new();
        for role in Role::NAMED {
            let Some(name) = role.file_name() else { continue };
            if fs::symlink_metadata(dir.join(name)).is_ok() {
                let (file, len) = open(&root, role, name)?;
                let mut bytes = Zeroizing::new(vec![
                    0;
                    usize::try_from(len)
                        .map_err(|_| refused(name, SourceRule::Size))?
                ]);
                let read = read_full(&file, &mut bytes, 0).map_err(Error::io("reading a file"))?;
                if read < bytes.len() {
                    return Err(refused(name, SourceRule::Changed));
                }
                check_file(role, &bytes)?;
                files.push(SourceFile { role, name: name.to_owned(), len, content: Content::Memory(bytes) });
            }
        }
        check_set(&files, &weights)?;
        for name in weights {
            let (file, len) = open(&root, Role::Weights, &name)?;
            files.push(SourceFile { role: Role::Weights, name, len, content: Content::File(file) });
        }
        Ok(Self { files })
    }

    /// The files of weights.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(|file| file.role == Role::Weights)
    }

    /// The tables of tensors in the files' own headers, which must go together.
    pub(crate) fn tables(&self) -> Result<Vec<FileTable>, Error> {
        let heads: Vec<Vec<u8>> = self.weights().map(read_head).collect::<Result<_, Error>>()?;
        self.tables_of(&heads)
    }

    /// The tables in these beginnings of the files of weights.
    pub(crate) fn tables_of(&self, heads: &[impl AsRef<[u8]>]) -> Result<Vec<FileTable>, Error> {
        let mut tables = Vec::new();
        let mut split = Vec::new();
        for (file, head) in self.weights().zip(heads) {
            match container(file) {
                Container::Safetensors => tables.push(parse_safetensors(head.as_ref(), file.len)?),
                Container::Gguf => {
                    let header = Gguf::parse(head.as_ref(), file.len)?;
                    tables.push(header.table().clone());
                    split.push(header);
                }
            }
        }
        let index = TensorIndex::of(tables)?;
        for (number, header) in split.iter().enumerate() {
            header.check_split((number, split.len()), index.len())?;
        }
        let weights_index = self.files.iter().find(|file| file.role == Role::WeightsIndex);
        if let Some(SourceFile { content: Content::Memory(bytes), .. }) = weights_index {
            let names = self.weights().map(|file| file.name.as_str());
            let named: Vec<_> = names.zip(index.files()).collect();
            WeightsIndex::parse(bytes)?.check(&named)?;
        }
        Ok(index.into_files())
    }
}

fn container(file: &SourceFile) -> Container {
    WeightsName::parse(&file.name).map_or(Container::Safetensors, |name| name.container)
}

/// The beginning of a file of weights, down to its first tensor or beyond.
fn read_head(file: &SourceFile) -> Result<Vec<u8>, Error> {
    if container(file) == Container::Safetensors {
        let length = file.head(file.len.min(safetensors::LENGTH_LEN))?;
        return file.head(safetensors::data_start(&length, file.len)?);
    }
    let mut len = FIRST_READ;
    loop {
        let head = file.head(len.min(file.len))?;
        let cut = Gguf::parse(&head, file.len) == Err(GgufRule::Cut.into());
        if !cut || len >= file.len.min(MAX_GGUF_HEADER_LEN) {
            return Ok(head);
        }
        len *= 4;
    }
}

/// Walks the folder and the one known folder inside it; names the first entry that does not belong.
fn walk(root: &Path, inside: &str, weights: &mut Vec<String>) -> Result<(), Error> {
    for entry in fs::read_dir(root.join(inside)).map_err(Error::io("listing a folder"))? {
        let entry = entry.map_err(Error::io("listing a folder"))?;
        let kind = entry.file_type().map_err(Error::io("listing a folder"))?;
        let name = format!("{inside}{}", entry.file_name().to_string_lossy());
        let names = || Role::NAMED.iter().filter_map(|role| role.file_name());
        if kind.is_symlink() {
            return Err(refused(&name, SourceRule::Link));
        } else if kind.is_dir() && names().any(|known| known.starts_with(&format!("{name}/"))) {
            walk(root, &format!("{name}/"), weights)?;
        } else if kind.is_file() && inside.is_empty() && WeightsName::parse(&name).is_some() {
            weights.push(name);
        } else if !kind.is_file() || !names().any(|known| known == name) {
            return Err(refused(&name, unknown_rule(&name)));
        }
    }
    Ok(())
}

fn unknown_rule(name: &str) -> SourceRule {
    match name {
        "tokenizer.model" | "spiece.model" | "sentencepiece.bpe.model" => return SourceRule::SentencePiece,
        "vocab.json" | "vocab.txt" | "merges.txt" | "added_tokens.json" => return SourceRule::Vocabulary,
        _ => {}
    }
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    match extension.unwrap_or_default() {
        "bin" | "pt" | "pth" | "ckpt" | "pkl" | "pickle" | "h5" | "msgpack" => SourceRule::Pickle,
        "py" | "so" | "sh" => SourceRule::Code,
        _ => SourceRule::Unknown,
    }
}

/// The set of files is that of one model.
fn check_set(named: &[SourceFile], weights: &[String]) -> Result<(), Error> {
    let names: Vec<&str> = weights.iter().map(String::as_str).collect();
    let last = names.last().copied().unwrap_or("model.safetensors");
    let set = WeightsSet::of(&names).map_err(|refusal| match refusal {
        SetRefusal::None => refused(last, SourceRule::Missing),
        SetRefusal::Name => refused(last, SourceRule::Unknown),
        SetRefusal::Containers | SetRefusal::Several => refused(last, SourceRule::SeveralWeights),
        SetRefusal::Numbers => refused(last, SourceRule::Shards),
    })?;
    if names.len() > MAX_WEIGHTS {
        return Err(refused(last, SourceRule::TooManyWeights));
    }
    let has = |role: Role| named.iter().any(|file| file.role == role);
    let missing = |role: Role| refused(role.file_name().unwrap_or_default(), SourceRule::Missing);
    let safetensors = set.container == Container::Safetensors;
    for role in [Role::Config, Role::Tokenizer] {
        if safetensors && !has(role) {
            return Err(missing(role));
        }
    }
    if has(Role::WeightsIndex) != (safetensors && set.numbered) {
        let name = Role::WeightsIndex.file_name().unwrap_or_default();
        return Err(refused(name, SourceRule::IndexPresence));
    }
    Ok(())
}

/// Opens a file of this role and holds its length against the role's limit.
fn open(root: &File, role: Role, name: &str) -> Result<(File, u64), Error> {
    let file = open_beneath(root, name).map_err(|_| refused(name, SourceRule::NotRegular))?;
    let len = file.metadata().map_err(Error::io("sizing a file"))?.len();
    if len == 0 || len > role.max_len() {
        return Err(refused(name, SourceRule::Size));
    }
    Ok((file, len))
}

pub(crate) fn refused(name: &str, rule: SourceRule) -> Error {
    Error::Source { name: name.chars().take(128).collect(), rule }
}
