//! The packed description of one step, which `kernels/step.cuh` reads.

use anchorhold_engine::{Draw, Row, Wanted};

/// Positions of a block of the cache, `BLOCK` of `kernels/portable.cuh`.
pub(crate) const BLOCK: usize = 64;
/// Tokens of a tile of the attention, `TILE` of `kernels/attention.cuh`.
const TILE: usize = 64;
/// Words before the arrays.
const HEADER: usize = 16;

/// Words that say how a row draws, as `kernels/step.cuh` reads them.
const DRAW_WORDS: usize = 7;
/// Stands in place of a token where a logit was not finite, `NOT_FINITE` of `kernels/draw.cuh`.
pub(crate) const NOT_FINITE: u32 = u32::MAX;

/// What a step may have at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StepLimits {
    /// Tokens.
    pub(crate) lines: usize,
    /// Sequences.
    pub(crate) rows: usize,
    /// Blocks of one sequence.
    pub(crate) blocks: usize,
}

impl StepLimits {
    /// Bytes of the longest description.
    pub(crate) const fn bytes(self) -> usize {
        // Three words for each line, six, a draw and the block table for each row, and a tile of two words for at least two lines.
        4 * (HEADER + 4 * self.lines + (6 + DRAW_WORDS + self.blocks) * self.rows)
    }
}

/// A step in the device's words.
#[derive(Debug, Default)]
pub(crate) struct Step {
    bytes: Vec<u8>,
    arrays: [Vec<u32>; 10],
    /// Tokens.
    pub(crate) lines: usize,
    /// Sequences.
    pub(crate) rows: usize,
    /// Rows that append one token.
    pub(crate) decodes: usize,
    /// Tiles of the rows that append more.
    pub(crate) tiles: usize,
}

impl Step {
    /// Describes these rows, whose numbers were checked against [`StepLimits`], and what each wants. Keeps its memory for the next step.
    pub(crate) fn describe(&mut self, rows: &[Row<'_>], wanted: &[Wanted]) {
        self.arrays.iter_mut().for_each(Vec::clear);
        let [tokens, positions, row_of, first_line, line_count, end, table, decode_rows, tiles, draws] =
            &mut self.arrays;
        let stride = rows.iter().map(|row| row.blocks.len()).max().unwrap_or(0);
        for (row, at) in rows.iter().zip(0_u32..) {
            let count = row.tokens.len();
            first_line.push(narrow(tokens.len()));
            line_count.push(narrow(count));
            end.push(narrow(row.start + count));
            tokens.extend_from_slice(row.tokens);
            positions.extend((row.start..row.start + count).map(narrow));
            row_of.extend(std::iter::repeat_n(at, count));
            table.extend(row.blocks.iter().map(|block| block.0));
            // Never looked at: no position of the row lies there.
            table.extend(std::iter::repeat_n(0, stride - row.blocks.len()));
            if count == 1 {
                decode_rows.push(at);
            } else {
                tiles.extend((0..count).step_by(TILE).flat_map(|offset| [at, narrow(offset)]));
            }
        }
        draws.extend(wanted.iter().flat_map(|wanted| match wanted {
            Wanted::Token(draw) => draw_words(draw),
            Wanted::Nothing | Wanted::Logits => [0; DRAW_WORDS],
        }));
        (self.lines, self.rows) = (tokens.len(), rows.len());
        (self.decodes, self.tiles) = (decode_rows.len(), tiles.len() / 2);
        let mut header = [0; HEADER];
        let counts = [self.lines, self.rows, self.decodes, self.tiles, stride];
        let mut offset = HEADER;
        let offsets = self.arrays.iter().map(|array| {
            let start = offset;
            offset += array.len();
            start
        });
        for (word, value) in header.iter_mut().zip(counts.into_iter().chain(offsets)) {
            *word = narrow(value);
        }
        self.bytes.clear();
        for word in header.iter().chain(self.arrays.iter().flatten()) {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// What is sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Tells the kernel that the row draws, and how.
fn draw_words(draw: &Draw) -> [u32; DRAW_WORDS] {
    let Draw { temperature, top_k, top_p, min_p, uniform } = *draw;
    let [a, b, c, d, e, f, g, h] = uniform.to_le_bytes();
    let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    [1, temperature.to_bits(), top_k, top_p.to_bits(), min_p.to_bits(), low, high]
}

/// Limits keep every number of a step below 2^32.
fn narrow(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_engine::BlockId;

    fn word(step: &Step, at: usize) -> usize {
        let bytes = step.bytes()[4 * at..4 * at + 4].try_into().unwrap();
        u32::from_le_bytes(bytes) as usize
    }

    #[test]
    fn a_description_says_where_everything_is_and_fits_its_limit() {
        let long: Vec<u32> = (100..230).collect();
        let ids: Vec<BlockId> = (7..12).map(BlockId).collect();
        let rows = [
            Row { tokens: &[5], start: 64, blocks: &ids[..2] },
            Row { tokens: &long, start: 0, blocks: &ids[2..5] },
        ];
        let draw = Draw { temperature: 0.5, top_k: 9, top_p: 0.75, min_p: 0.0, uniform: 0.25 };
        let wanted = [Wanted::Logits, Wanted::Token(draw)];
        let mut step = Step::default();
        for _ in 0..2 {
            step.describe(&rows, &wanted);
            assert_eq!((step.lines, step.rows, step.decodes, step.tiles), (131, 2, 1, 3));
            assert_eq!((0..5).map(|at| word(&step, at)).collect::<Vec<_>>(), [131, 2, 1, 3, 3]);
            let array = |at: usize, index: usize| word(&step, word(&step, at) + index);
            assert_eq!((array(5, 0), array(5, 1), array(5, 130)), (5, 100, 229));
            assert_eq!((array(6, 0), array(6, 1), array(6, 130)), (64, 0, 129));
            assert_eq!((array(7, 0), array(7, 1)), (0, 1));
            assert_eq!((array(8, 1), array(9, 1), array(10, 1)), (1, 130, 130));
            assert_eq!((0..6).map(|at| array(11, at)).collect::<Vec<_>>(), [7, 8, 0, 9, 10, 11]);
            assert_eq!(array(12, 0), 0);
            assert_eq!((0..6).map(|at| array(13, at)).collect::<Vec<_>>(), [1, 0, 1, 64, 1, 128]);
            assert_eq!((0..7).map(|at| array(14, at)).collect::<Vec<_>>(), [0; 7]);
            let drawn = [1, 0x3f00_0000, 9, 0x3f40_0000, 0, 0, 0x3fd0_0000];
            assert_eq!((7..14).map(|at| array(14, at)).collect::<Vec<_>>(), drawn);
            let limits = StepLimits { lines: 131, rows: 2, blocks: 3 };
            assert!(step.bytes().len() <= limits.bytes());
        }
    }
}
