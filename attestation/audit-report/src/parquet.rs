//! Entries as an Apache Parquet file, for tools that read columns: the columns of [`csv`](crate::csv), with types.
//!
//! Written by hand because the file is always of one flat schema: the general library brings some twenty crates for nested types,
//! codecs and statistics that nothing here needs. Pages are not compressed; columns with few different values have a dictionary, which
//! makes most of them small. Format: the Apache Parquet specification, version 2.11 (`parquet.thrift`), data pages of version 1.
//!
//! [`Writer`] keeps one row group in memory, at most [`ROWS_PER_GROUP`] entries, and some 4 KiB for each group that was written.

mod column;
mod thrift;

use crate::csv;
use anchorhold_audit_log::Entry;
use column::{Chunk, Column, Physical};
use std::io::{self, Write};
use thrift::{Kind, Struct};

/// How many entries one row group has.
pub const ROWS_PER_GROUP: usize = 16 * 1024;
const MAGIC: &[u8; 4] = b"PAR1";
const CREATED_BY: &str = "anchorhold";

/// What a column of this name holds. `time` is the guest's clock, in nanoseconds since 1970.
fn physical(name: &str) -> Physical {
    match name {
        "index"
        | "severity"
        | "status"
        | "prompt_tokens"
        | "generated_tokens"
        | "milliseconds"
        | "first_token_milliseconds"
        | "model_version"
        | "policy_version" => Physical::Integer,
        "time" => Physical::Time,
        "streamed" => Physical::Boolean,
        _ => Physical::Text,
    }
}

/// Writes one file.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    /// How many bytes were written.
    at: u64,
    columns: Vec<Column>,
    rows: usize,
    groups: Vec<Group>,
}

/// A row group that was written.
#[derive(Debug)]
struct Group {
    chunks: Vec<Chunk>,
    rows: usize,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Those of the medium.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        let columns = csv::COLUMNS.iter().map(|name| Column::new(name, physical(name))).collect();
        Ok(Self { out, at: MAGIC.len() as u64, columns, rows: 0, groups: Vec::new() })
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// Those of the medium.
    pub fn write(&mut self, entry: &Entry) -> io::Result<()> {
        for (column, cell) in self.columns.iter_mut().zip(csv::cells(entry)) {
            match column.physical() {
                Physical::Time => column.push_integer(Some(entry.t)),
                _ => column.push(cell),
            }
        }
        self.rows += 1;
        if self.rows == ROWS_PER_GROUP { self.end_group() } else { Ok(()) }
    }

    fn end_group(&mut self) -> io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut chunks = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            let (bytes, chunk) = column.take(self.at)?;
            self.out.write_all(&bytes)?;
            self.at += bytes.len() as u64;
            chunks.push(chunk);
        }
        self.groups.push(Group { chunks, rows: std::mem::take(&mut self.rows) });
        Ok(())
    }

    /// Ends the file; without this, it is none.
    ///
    /// # Errors
    /// Those of the medium.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_group()?;
        let footer = self.footer();
        let length = u32::try_from(footer.len())
            .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "too many row groups"))?;
        self.out.write_all(&footer)?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(MAGIC)?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// `FileMetaData`.
    fn footer(&self) -> Vec<u8> {
        let mut file = Struct::new();
        file.i32(1, 1);
        file.list(2, Kind::Struct, self.columns.len() + 1, |items| {
            let mut root = Struct::new();
            root.text(4, "entries");
            root.i32(5, length(self.columns.len()));
            items.extend(root.finish());
            self.columns.iter().for_each(|column| items.extend(column.schema()));
        });
        file.i64(3, self.groups.iter().map(|group| long(group.rows)).sum());
        file.list(4, Kind::Struct, self.groups.len(), |items| {
            for group in &self.groups {
                let mut row_group = Struct::new();
                row_group.list(1, Kind::Struct, group.chunks.len(), |items| {
                    let chunks = group.chunks.iter().zip(&self.columns);
                    chunks.for_each(|(chunk, column)| items.extend(chunk.metadata(column)));
                });
                row_group.i64(2, group.chunks.iter().map(Chunk::bytes).sum());
                row_group.i64(3, long(group.rows));
                items.extend(row_group.finish());
            }
        });
        file.text(6, CREATED_BY);
        file.finish()
    }
}

/// A count that memory bounds, as the format writes it.
fn length(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn long(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
