//! A layer's attention: which threads look at what, and the cache that they look into.

use super::{Flow, Model, Turn};
use crate::attention::{Attention, QUERIES, Unit};
use crate::cache::{Cache, Shape};
use crate::kernel::{Packing, WIDTH};
use crate::math;
use crate::rope;
use crate::rows::{Sheet, grow};
use crate::threads::{PerThread, Team, Threads};
use anchorhold_engine::{BackendError, BlockId, Row};
use zeroize::Zeroize as _;

/// Lines from which threads share the writing of keys and values.
const SHARED_FROM: usize = 16;

/// Keys and values of all sequences, and what the threads attend with.
pub(super) struct Memory<P: Packing> {
    cache: Cache<P>,
    heads: PerThread<Head<P>>,
}

/// What one thread attends with.
struct Head<P: Packing> {
    attention: Attention<P>,
    line: Vec<f32>,
}

impl<P: Packing> Drop for Head<P> {
    fn drop(&mut self) {
        self.line.zeroize();
    }
}

impl<P: Packing> Memory<P> {
    pub(super) fn new(model: &Model, threads: &Threads) -> Self {
        let sizes = &model.sizes;
        let shape = Shape { layers: sizes.kept, heads: sizes.key_heads, unit: Unit::new(sizes.head) };
        let head = || Head { attention: Attention::new(model.isa), line: Vec::new() };
        Self { cache: Cache::new(shape), heads: PerThread::new(threads, head) }
    }

    /// Makes sure that the rows' blocks have memory.
    pub(super) fn reserve(&mut self, rows: &[Row<'_>]) {
        rows.iter().for_each(|row| self.cache.reserve(row.blocks));
    }

    pub(super) fn erase(&mut self, blocks: &[BlockId]) {
        self.cache.erase(blocks);
    }
}

/// What all layers of a step do alike. Keeps its memory for the next step.
#[derive(Default)]
pub(super) struct Plan {
    /// The cosines and sines of each line, of the one rope and of the other.
    turns: [Vec<(f32, f32)>; 2],
    /// By block.
    writes: Vec<Write>,
    tasks: Vec<Task>,
    /// The last line of each row.
    last: Vec<usize>,
    /// For each block how often the rows name it.
    uses: Vec<usize>,
    /// For each line, the first of the lines that are attended with it, and how many those are.
    spans: Vec<(usize, usize)>,
}

/// Positions of one row whose keys and values come into one block.
struct Write {
    block: usize,
    line: usize,
    slot: usize,
    count: usize,
}

/// Some tokens of one row, for one key head.
struct Task {
    row: usize,
    /// The first token's line among all lines of the step.
    line: usize,
    /// The first token's position.
    position: usize,
    count: usize,
    head: usize,
}

impl Plan {
    /// The last line of each row.
    pub(super) fn last(&self) -> &[usize] {
        &self.last
    }

    /// Checks that what a row writes is nobody else's.
    ///
    /// # Errors
    /// A block that is written is named a second time.
    pub(super) fn check(&mut self, rows: &[Row<'_>]) -> Result<(), BackendError> {
        let blocks = || rows.iter().flat_map(|row| row.blocks);
        let count = blocks().map(|block| block.index() + 1).max().unwrap_or(0);
        self.uses.clear();
        self.uses.resize(count, 0);
        for block in blocks() {
            if let Some(uses) = self.uses.get_mut(block.index()) {
                *uses += 1;
            }
        }
        let mut written = rows.iter().flat_map(|row| row.blocks.iter().skip(row.start / WIDTH));
        if written.any(|block| self.uses.get(block.index()).is_none_or(|&uses| uses > 1)) {
            return Err(BackendError::new("a block is written by one row and used by another"));
        }
        Ok(())
    }

    pub(super) fn make(&mut self, model: &Model, rows: &[Row<'_>]) {
        let Self { turns: [full, window], writes, tasks, last, spans, uses: _ } = self;
        full.clear();
        window.clear();
        writes.clear();
        tasks.clear();
        last.clear();
        spans.clear();
        let share = (QUERIES / model.sizes.group).max(1);
        let mut first = 0;
        for (at, row) in rows.iter().enumerate() {
            let (start, count) = (row.start, row.tokens.len());
            for position in start..start + count {
                full.extend(model.rope.angles(position));
                window.extend(model.window_rope.iter().flat_map(|rope| rope.angles(position)));
            }
            let mut line = first;
            while line < first + count {
                let position = start + line - first;
                let slot = position % WIDTH;
                let count = (WIDTH - slot).min(first + count - line);
                let block = row.blocks.get(position / WIDTH).map_or(usize::MAX, |block| block.index());
                writes.push(Write { block, line, slot, count });
                line += count;
            }
            for offset in (0..count).step_by(share) {
                let count = share.min(count - offset);
                let line = first + offset;
                spans.extend(std::iter::repeat_n((line, count), count));
                tasks.extend((0..model.sizes.key_heads).map(|head| Task {
                    row: at,
                    line,
                    position: start + offset,
                    count,
                    head,
                }));
            }
            first += count;
            last.push(first - 1);
        }
        writes.sort_unstable_by_key(|write| write.block);
    }

    /// The turn of a line.
    fn turn(&self, turn: Turn, line: usize, half: usize) -> &[(f32, f32)] {
        let [full, window] = &self.turns;
        let angles = if turn == Turn::Window { window } else { full };
        angles.get(line * half..(line + 1) * half).unwrap_or_default()
    }
}

impl Model {
    /// Turns queries and keys, writes keys and values to the cache, lets each token look at itself and what came before it, and makes
    /// the answers the input of what follows.
    pub(super) fn attend<P: Packing>(
        &self,
        (team, layer): (Team<'_>, usize),
        rows: &[Row<'_>],
        memory: &mut Memory<P>,
        flow: &mut Flow,
    ) {
        let (sizes, group) = (&self.sizes, self.sizes.group * self.sizes.head);
        let Flow { x, input, mixed, plan, attended, .. } = flow;
        self.keep((team, layer), memory, mixed, plan);
        grow(attended, x.rows() * sizes.queries());
        let mut rest = attended.as_mut_slice();
        let tasks = plan.tasks.iter().map(|task| {
            let (own, later) = std::mem::take(&mut rest).split_at_mut(task.count * group);
            rest = later;
            (task, own)
        });
        let (cache, heads) = (&memory.cache, &memory.heads);
        team.each(tasks, |worker, (task, out)| {
            if let (Some(mut head), Some(row)) = (heads.of(worker), rows.get(task.row)) {
                self.attend_head((layer, task), (&mut head.attention, cache, row), (mixed, plan), out);
            }
        });
        let Some(layer) = self.layers.get(layer) else { return };
        layer.attention_out.fill(input, team, x.rows(), |row, line| {
            let &(first, count) = plan.spans.get(row).unwrap_or(&(0, 1));
            let tokens = attended.get(first * sizes.queries()..).unwrap_or_default();
            let answers = tokens.chunks_exact(group).skip(row - first).step_by(count);
            for (part, answer) in line.chunks_exact_mut(group).zip(answers) {
                part.copy_from_slice(answer);
            }
        });
    }

    /// Writes the step's keys and values to the cache.
    fn keep<P: Packing>(
        &self,
        (team, layer): (Team<'_>, usize),
        memory: &mut Memory<P>,
        mixed: &Sheet,
        plan: &Plan,
    ) {
        let (sizes, head) = (&self.sizes, self.sizes.head);
        let (turn, _) = self.positions(layer);
        let norm = self.layers.get(layer).and_then(|layer| layer.head_norms.as_ref()).map(|[_, keys]| keys);
        let Memory { cache, heads } = memory;
        let shape = cache.shape();
        let blocks = cache.pick(plan.writes.iter().map(|write| write.block));
        let writes = plan.writes.iter().zip(blocks);
        team.for_work(plan.spans.len() >= SHARED_FROM).each(writes, |worker, (write, block)| {
            let Some(mut own) = heads.of(worker) else { return };
            grow(&mut own.line, 2 * head);
            let (key, value) = own.line.split_at_mut(head);
            let value = value.get_mut(..head).unwrap_or_default();
            for (line, slot) in (write.line..).zip(write.slot..write.slot + write.count) {
                for at in 0..sizes.key_heads {
                    let first = sizes.queries() + at * head;
                    mixed.copy(line, first..first + head, key);
                    mixed.copy(line, first + sizes.keys()..first + sizes.keys() + head, value);
                    if let Some(norm) = norm {
                        math::normalise(self.isa, norm, key);
                    }
                    rope::rotate(key, plan.turn(turn, line, head / 2));
                    shape.unit.write(shape.part(block, sizes.kept(layer), at), slot, key, value);
                }
            }
        });
    }

    fn attend_head<P: Packing>(
        &self,
        (layer, task): (usize, &Task),
        (attention, cache, row): (&mut Attention<P>, &Cache<P>, &Row<'_>),
        (mixed, plan): (&Sheet, &Plan),
        out: &mut [f32],
    ) {
        let sizes = &self.sizes;
        let (head, group) = (sizes.head, sizes.group);
        let (turn, window) = self.positions(layer);
        let norm = self.layers.get(layer).and_then(|layer| layer.head_norms.as_ref());
        // No query of the task sees the units before this one.
        let skipped = (task.position + 1).saturating_sub(window) / WIDTH;
        let queries = &mut attention.queries;
        (queries.scale, queries.cap) = (self.ways.score_scale, self.ways.score_cap);
        queries.visible.clear();
        grow(&mut queries.lines, task.count * group * head);
        let mut lines = queries.lines.chunks_exact_mut(head);
        for at in 0..task.count {
            let position = task.position + at;
            let seen = (position + 1).saturating_sub(window)..position + 1;
            let seen = seen.start - skipped * WIDTH..seen.end - skipped * WIDTH;
            for (member, line) in lines.by_ref().take(group).enumerate() {
                let first = (task.head * group + member) * head;
                mixed.copy(task.line + at, first..first + head, line);
                if let Some([queries, _]) = norm {
                    math::normalise(self.isa, queries, line);
                }
                rope::rotate(line, plan.turn(turn, task.line + at, head / 2));
                queries.visible.push(seen.clone());
            }
        }
        let count = (task.position + task.count).div_ceil(WIDTH) - skipped;
        let unit = |at: usize| {
            let block = row.blocks.get(skipped + at).copied().unwrap_or(BlockId(u32::MAX));
            cache.unit(block, sizes.kept(layer), task.head)
        };
        attention.attend(cache.shape().unit, count, unit, out);
    }
}
