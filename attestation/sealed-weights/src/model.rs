//! A whole sealed model behind open files: its small files, its tensors, and a check of everything.

use ring::digest::{Context, SHA256};
use zeroize::Zeroizing;

use crate::card::{Card, CardFile};
use crate::dtype::Container;
use crate::effort::{Effort, Meter};
use crate::error::Error;
use crate::gguf::Gguf;
use crate::json;
use crate::key::WeightsKey;
use crate::load::{self, Arrangement, Destination, TensorMemory};
use crate::merkle;
use crate::object::ObjectEntry;
use crate::package::{ObjectFiles, PackageFiles};
use crate::reader::{self, ObjectReader, Scratch};
use crate::role::Role;
use crate::rules::{CardRule, MixedRule, TensorRule};
use crate::safetensors::parse_safetensors;
use crate::tensor_reader::TensorReader;
use crate::tensors::{FileTable, TensorIndex};
use crate::weights_index::WeightsIndex;

/// A model whose card, trees and headers were checked. Its contents are decrypted on demand.
#[derive(Debug)]
pub struct SealedModel {
    card: Card,
    readers: Vec<ObjectReader>,
}

impl SealedModel {
    /// Opens every object. Establishes what [`ObjectReader::open`] does, and that the card fits the manifest.
    ///
    /// # Errors
    /// Those of [`reader::open_card`] and [`ObjectReader::open`]; [`Error::Mixed`] when the files are not as many as
    /// the manifest's objects.
    pub fn open(key: &WeightsKey, files: PackageFiles) -> Result<Self, Error> {
        let objects = key.manifest().objects();
        if files.objects.len() != objects.len() {
            return Err(MixedRule::FileCount.into());
        }
        let card = reader::open_card(key, &files.card)?;
        let open = |(object, files): (&ObjectEntry, ObjectFiles)| {
            ObjectReader::open(key, &object.id(), &files.tree, files.data)
        };
        let readers = objects.iter().zip(files.objects).map(open).collect::<Result<_, Error>>()?;
        Ok(Self { card, readers })
    }

    /// The decrypted card.
    #[must_use]
    pub const fn card(&self) -> &Card {
        &self.card
    }

    /// The tensors of the weights.
    #[must_use]
    pub const fn index(&self) -> &TensorIndex {
        self.card.index()
    }

    /// The roles of the package's files, in order; that of the weights once for each of their files.
    pub fn roles(&self) -> impl Iterator<Item = Role> + '_ {
        self.card.files().iter().map(CardFile::role)
    }

    /// Plaintext bytes of the files of weights.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.card.files().iter().filter(|file| file.role() == Role::Weights).map(CardFile::len).sum()
    }

    /// The encrypted objects, in the order of the manifest, for reading segments one by one.
    #[must_use]
    pub fn objects(&self) -> &[ObjectReader] {
        &self.readers
    }

    /// Decrypts a file other than the weights and checks its form.
    ///
    /// # Errors
    /// [`Error::Absent`] when the package has none of this role; those of [`ObjectReader::read_segment`];
    /// [`Error::Card`] when it is not the file that the card describes; [`Error::Json`].
    pub fn file(&self, role: Role) -> Result<Zeroizing<Vec<u8>>, Error> {
        let named = role.file_name().is_some();
        let file = self.card.files().iter().find(|file| named && file.role() == role);
        let file = file.ok_or(Error::Absent(role))?;
        let bytes = self.read(file, file.len())?;
        if merkle::sha256(&bytes) != *file.sha256() {
            return Err(CardRule::Digest.into());
        }
        json::check_file(role, &bytes)?;
        Ok(bytes)
    }

    /// Verifies and decrypts the weights and fills one destination for each tensor of [`SealedModel::index`], in its order.
    ///
    /// The files' own headers are read first and must say what the card says. Memory beyond the destinations: one segment
    /// for each thread and about 200 bytes for each tensor and segment.
    ///
    /// # Errors
    /// [`Error::Destination`], [`Error::Tensors`], [`Error::Gguf`] or [`Error::WeightsIndex`] before anything is filled,
    /// else those of [`ObjectReader::read_segment`]. After an error the destinations hold verified parts of the model and
    /// zeros and must not be used; no byte of a refused segment is among them.
    pub fn load_tensors(&self, destinations: Vec<Destination<'_>>, effort: &Effort<'_>) -> Result<(), Error> {
        load::load_tensors(self, destinations, effort)
    }

    /// For reading the tensors a part at a time. The files' own headers are read first and must say what the card says.
    ///
    /// # Errors
    /// [`Error::Tensors`], [`Error::Gguf`] or [`Error::WeightsIndex`], else those of [`ObjectReader::read_segment`].
    pub fn tensor_reader<'a>(&'a self, effort: &'a Effort<'_>) -> Result<TensorReader<'a>, Error> {
        TensorReader::new(self, effort)
    }

    /// What stands before the tensors in the first file of weights: for GGUF all the metadata.
    ///
    /// # Errors
    /// Those of [`ObjectReader::read_segment`].
    pub fn weights_header(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let file = self.card.files().iter().find(|file| file.role() == Role::Weights);
        let file = file.ok_or(Error::Absent(Role::Weights))?;
        self.read(file, self.index().files().first().map_or(0, FileTable::data_start))
    }

    /// Loads every tensor as it is stored, into memory that is aligned for devices.
    ///
    /// # Errors
    /// Those of [`SealedModel::load_tensors`]; [`Error::Io`] when the system has no such memory.
    pub fn load(&self, effort: &Effort<'_>) -> Result<TensorMemory, Error> {
        load::load(self, effort)
    }

    /// Loads every tensor as numbers, in the order of [`SealedModel::index`].
    ///
    /// # Errors
    /// Those of [`SealedModel::load_tensors`]; [`Error::Destination`] when a tensor is not of F32, F16 or BF16.
    pub fn load_f32(&self, effort: &Effort<'_>) -> Result<Vec<Vec<f32>>, Error> {
        load::load_f32(self, effort)
    }

    /// Where tensors lie in one stretch of device memory: see [`SealedModel::stage`].
    ///
    /// # Errors
    /// [`Error::Tensors`] when the tensors are longer than 64 bits count.
    pub fn arrangement(&self) -> Result<Arrangement, Error> {
        Arrangement::of(self.index().tensors())
    }

    /// Decrypts everything and keeps nothing: establishes that a later load of the same bytes will succeed, and that every
    /// file has the digest that the card, and with it a model signature, gives it.
    ///
    /// # Errors
    /// Those of [`SealedModel::file`] and [`SealedModel::load_tensors`].
    pub fn verify(&self, effort: &Effort<'_>) -> Result<(), Error> {
        for role in self.roles().filter(|role| role.file_name().is_some()) {
            self.file(role)?;
        }
        self.check_weights()?;
        let mut parts: Vec<Part<'_>> = self.card.files().iter().map(Part::File).collect();
        for (object, reader) in self.readers.iter().enumerate() {
            let mut end = 0;
            for file in self.card.files().iter().filter(|file| file.id() == reader.entry().id()) {
                parts.push(Part::Padding(object, end..file.offset()));
                end = file.offset().saturating_add(file.len());
            }
            parts.push(Part::Padding(object, end..reader.entry().plaintext_len()));
        }
        let meter = effort.meter(self.readers.iter().map(|reader| reader.entry().plaintext_len()).sum());
        effort.run(parts, || Ok(None), |scratch, part| self.verify_part(&part, scratch, &meter))
    }

    fn verify_part(
        &self,
        part: &Part<'_>,
        scratch: &mut Option<Scratch>,
        meter: &Meter<'_>,
    ) -> Result<(), Error> {
        let (object, range) = match part {
            Part::File(file) => {
                (self.position_of(file)?, file.offset()..file.offset().saturating_add(file.len()))
            }
            Part::Padding(object, range) => (*object, range.clone()),
        };
        let reader = self.reader_at(object)?;
        let mut digest = Context::new(&SHA256);
        for piece in reader.entry().layout().pieces(range) {
            let plaintext = reader.read_with(piece.segment, scratch)?;
            let bytes = plaintext.get(piece.start..).and_then(|rest| rest.get(..piece.len));
            let bytes = bytes.ok_or(TensorRule::End)?;
            match part {
                Part::File(_) => digest.update(bytes),
                Part::Padding(..) if bytes.iter().any(|byte| *byte != 0) => {
                    return Err(CardRule::PaddingBytes.into());
                }
                Part::Padding(..) => {}
            }
            meter.add(piece.len as u64);
        }
        match part {
            Part::File(file) if merkle::finish(digest) != *file.sha256() => Err(CardRule::Digest.into()),
            _ => Ok(()),
        }
    }

    /// Holds the weights' own headers, and the index of numbered files, against the tables of the card.
    pub(crate) fn check_weights(&self) -> Result<(), Error> {
        let weights = self.card.files().iter().filter(|file| file.role() == Role::Weights);
        let files: Vec<_> = weights.zip(self.index().files()).collect();
        for (number, (file, table)) in files.iter().enumerate() {
            let head = self.read(file, table.data_start())?;
            let found = match table.container() {
                Container::Safetensors => parse_safetensors(&head, file.len())?,
                Container::Gguf => {
                    let header = Gguf::parse(&head, file.len())?;
                    header.check_split((number, files.len()), self.index().len())?;
                    header.into_table()
                }
            };
            if found != **table {
                return Err(TensorRule::Disagree.into());
            }
        }
        if self.roles().any(|role| role == Role::WeightsIndex) {
            let index = WeightsIndex::parse(&self.file(Role::WeightsIndex)?)?;
            let named: Vec<_> = files.iter().map(|(file, table)| (file.name(), *table)).collect();
            index.check(&named)?;
        }
        Ok(())
    }

    /// The first `len` bytes of a file.
    fn read(&self, file: &CardFile, len: u64) -> Result<Zeroizing<Vec<u8>>, Error> {
        let reader = self.reader_at(self.position_of(file)?)?;
        reader.read_range(file.offset()..file.offset().saturating_add(len))
    }

    /// The position of the object that holds a file.
    pub(crate) fn position_of(&self, file: &CardFile) -> Result<usize, Error> {
        let position = self.readers.iter().position(|reader| reader.entry().id() == file.id());
        Ok(position.ok_or(MixedRule::UnknownObject)?)
    }

    pub(crate) fn reader_at(&self, object: usize) -> Result<&ObjectReader, Error> {
        Ok(self.readers.get(object).ok_or(MixedRule::UnknownObject)?)
    }
}

/// What a whole check looks at, apart.
enum Part<'a> {
    File(&'a CardFile),
    /// What lies between, before and after the files of an object.
    Padding(usize, std::ops::Range<u64>),
}
