//! Which block of the generator's memory holds what: blocks that sequences share, and a tree of those that may be found again.
//!
//! A block holds the keys and values of a fixed number of positions. What is in it depends on every token from the beginning of the
//! sequence to the block's last, so blocks are found by that: a node of the tree is one block's tokens below the node before it, and
//! the first ones hang from a [`CacheDomain`]. Tokens are compared, not hashes of them, and nothing is found across domains.
//!
//! A block is in one of three states: held by at least one sequence; kept, which is held by nobody and found in the tree; or free,
//! which is erased. Held blocks may be in the tree too. Kept ones are given up when blocks are needed: by the domain that has the most
//! of them for its share, so that nobody loses what it keeps within its part because another asks for much; of that domain's, the
//! one that was used longest ago first, and never before what hangs from it.

use crate::admission::wide;
use crate::{BlockId, Generator, Tenancy, TokenId};
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

/// Whose text a cache holds: nothing is shared between two domains. The server gives each tenant one; a caller never names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct CacheDomain(pub [u8; 16]);

impl std::fmt::Debug for CacheDomain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CacheDomain")
    }
}

/// A node of the tree, never named again after it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct NodeId(u64);

/// What a block comes after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum After {
    Nothing(CacheDomain),
    /// The choices of one request, by its number, where nothing else is shared.
    Choices(u64),
    Node(NodeId),
}

/// A node by what it comes after and its own tokens.
type Link = (After, Box<[TokenId]>);

struct Node {
    link: Link,
    block: BlockId,
    domain: CacheDomain,
    /// Nodes that come after this one.
    followers: u32,
    used: u64,
}

#[derive(Debug, Default)]
struct Slot {
    holders: u32,
    node: Option<NodeId>,
}

/// What one domain has.
#[derive(Debug, Default)]
struct Part {
    /// Blocks that are held or kept.
    blocks: u64,
    /// Those of them that at least one sequence holds.
    held: u64,
    share: u64,
    /// Nodes whose blocks are held by nobody and that nothing comes after, by when they were used.
    leaves: BTreeSet<(u64, NodeId)>,
}

impl Part {
    /// How many blocks it has for its share with `more` of them, to be compared.
    fn fullness(&self, more: u64) -> u64 {
        self.blocks.saturating_add(more).saturating_mul(FULL_SHARE) / self.share.max(1)
    }
}

/// Far above any share, so that dividing by one does not make different parts equal.
const FULL_SHARE: u64 = 1 << 32;

/// The blocks of one generator.
pub(crate) struct BlockCache {
    /// Positions of one block.
    size: usize,
    slots: Vec<Slot>,
    /// Erased and held by nobody; the last is taken first, so that memory that was never used stays so.
    free: Vec<BlockId>,
    tree: HashMap<Link, NodeId>,
    nodes: HashMap<NodeId, Node>,
    /// Of every domain that has a block.
    parts: HashMap<CacheDomain, Part>,
    /// Nodes whose blocks are held by nobody.
    kept: usize,
    next_node: u64,
    clock: u64,
    /// Whether blocks that nobody holds any more are kept, to be found again.
    keeps: bool,
}

impl fmt::Debug for BlockCache {
    /// Without the tokens that blocks are found by.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockCache")
            .field("size", &self.size)
            .field("slots", &self.slots.len())
            .field("free", &self.free.len())
            .field("nodes", &self.nodes.len())
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

/// What a sequence lacks in order to begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lack {
    /// Blocks that are not available.
    pub(crate) blocks: usize,
    /// Blocks that its domain would hold more than it does.
    pub(crate) more: u64,
}

/// Which blocks nobody would hold, if some tables were released.
#[derive(Debug, Default)]
pub(crate) struct Released {
    holders: HashMap<BlockId, u32>,
}

impl Released {
    /// How many blocks nobody would hold any more when this table is released too.
    pub(crate) fn add(&mut self, table: &Table, cache: &BlockCache) -> usize {
        let freed = |block: &&BlockId| {
            let released = self.holders.entry(**block).or_default();
            *released += 1;
            cache.slots.get(block.index()).is_some_and(|slot| slot.holders == *released)
        };
        table.blocks.iter().filter(freed).count()
    }
}

/// The blocks that one sequence holds, from its first position on.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) blocks: Vec<BlockId>,
    tenancy: Tenancy,
    /// What the first block comes after.
    root: After,
    after: After,
    /// How many of the blocks are in the tree, or found to be there.
    found: usize,
}

impl Table {
    pub(crate) fn new(tenancy: Tenancy) -> Self {
        Self::from(tenancy, After::Nothing(tenancy.domain))
    }

    fn from(tenancy: Tenancy, root: After) -> Self {
        Self { blocks: Vec::new(), tenancy, root, after: root, found: 0 }
    }
}

impl BlockCache {
    /// `count` free blocks of `size` positions. Blocks of a domain are found, and kept to be found again, only if `keeps`.
    pub(crate) fn new(count: u32, size: usize, keeps: bool) -> Self {
        Self {
            size: size.max(1),
            slots: (0..count).map(|_| Slot::default()).collect(),
            free: (0..count).rev().map(BlockId).collect(),
            tree: HashMap::new(),
            nodes: HashMap::new(),
            parts: HashMap::new(),
            kept: 0,
            next_node: 0,
            clock: 0,
            keeps,
        }
    }

    /// A table for each choice of the request with this number, which find each other's blocks: those of the whole domain where blocks
    /// are kept, and their own alone where nothing is.
    pub(crate) fn table_of_choices(&self, tenancy: Tenancy, request: u64) -> Table {
        Table::from(
            tenancy,
            if self.keeps { After::Nothing(tenancy.domain) } else { After::Choices(request) },
        )
    }

    /// Blocks that positions before `end` take.
    pub(crate) fn blocks_for(&self, end: usize) -> usize {
        end.div_ceil(self.size)
    }

    /// Positions that so many blocks hold.
    pub(crate) fn positions(&self, blocks: usize) -> usize {
        blocks.saturating_mul(self.size)
    }

    /// Blocks that can be taken now: free ones, and kept ones that can be given up.
    pub(crate) fn available(&self) -> usize {
        self.free.len() + self.kept
    }

    /// All blocks.
    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }

    /// Blocks that sequences of a domain hold, each counted once however many hold it.
    pub(crate) fn held(&self, domain: CacheDomain) -> u64 {
        self.parts.get(&domain).map_or(0, |part| part.held)
    }

    /// Blocks that nobody holds and that are not kept.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Holds as many blocks as begin `tokens` and are in the tree, and gives back how many. All but the last token at most, since a
    /// step must have one to compute.
    ///
    /// # Errors
    /// What is lacking when what `tokens` take beyond that, and `spare` more, is not available; nothing is held then.
    pub(crate) fn begin(
        &mut self,
        table: &mut Table,
        tokens: &[TokenId],
        spare: usize,
    ) -> Result<usize, Lack> {
        let mut found = Vec::new();
        let mut after = table.after;
        let whole = tokens.len().saturating_sub(1) / self.size * self.size;
        for part in tokens.get(..whole).unwrap_or_default().chunks_exact(self.size) {
            let Some(&node) = self.tree.get(&(after, Box::from(part))) else { break };
            after = After::Node(node);
            found.push(node);
        }
        let kept = found.iter().filter(|node| self.holders(**node) == 0).count();
        let new = self.blocks_for(tokens.len()) - found.len();
        let blocks = (new + spare).saturating_sub(self.available() - kept);
        if blocks > 0 {
            return Err(Lack { blocks, more: wide(new + kept) });
        }
        for node in &found {
            if let Some(block) = self.nodes.get(node).map(|node| node.block) {
                self.hold(block, table.tenancy.domain);
                table.blocks.push(block);
            }
        }
        (table.after, table.found) = (after, found.len());
        Ok(found.len() * self.size)
    }

    /// Makes the table long enough for positions before `end`. Presumes that as many blocks are available.
    pub(crate) fn extend(&mut self, table: &mut Table, end: usize, generator: &mut dyn Generator) {
        while table.blocks.len() < self.blocks_for(end) {
            let Some(block) = self.free.pop().or_else(|| self.give_up(table.tenancy.domain, generator))
            else {
                return;
            };
            let part = self.parts.entry(table.tenancy.domain).or_default();
            part.blocks += 1;
            part.share = u64::from(table.tenancy.share);
            self.hold(block, table.tenancy.domain);
            table.blocks.push(block);
        }
    }

    /// Puts the blocks that are full, now that positions before `end` are computed, where they can be found. A block whose like is
    /// there already is exchanged for it.
    pub(crate) fn keep(
        &mut self,
        table: &mut Table,
        tokens: &[TokenId],
        end: usize,
        generator: &mut dyn Generator,
    ) {
        if !self.keeps && !matches!(table.root, After::Choices(_)) {
            return;
        }
        while (table.found + 1) * self.size <= end {
            let place = table.found;
            let part = tokens.get(place * self.size..(place + 1) * self.size);
            let (Some(part), Some(&own)) = (part, table.blocks.get(place)) else { return };
            let link: Link = (table.after, Box::from(part));
            let node = match self.tree.get(&link) {
                Some(&node) => {
                    if let Some(other) = self.nodes.get(&node).map(|node| node.block) {
                        self.hold(other, table.tenancy.domain);
                        if let Some(slot) = table.blocks.get_mut(place) {
                            *slot = other;
                        }
                        self.let_go(own, table.tenancy.domain, generator);
                    }
                    node
                }
                None => self.add(link, own, table.tenancy.domain),
            };
            (table.after, table.found) = (After::Node(node), place + 1);
        }
    }

    /// Lets go of everything that the table holds. What can be found again is kept, the rest is erased.
    pub(crate) fn release(&mut self, table: &mut Table, generator: &mut dyn Generator) {
        let tenancy = table.tenancy;
        let empty = Table::from(tenancy, table.root);
        // The last first: what comes after goes before what it comes after.
        for block in std::mem::replace(table, empty).blocks.into_iter().rev() {
            self.let_go(block, tenancy.domain, generator);
        }
    }

    fn add(&mut self, link: Link, block: BlockId, domain: CacheDomain) -> NodeId {
        let id = NodeId(self.next_node);
        self.next_node += 1;
        if let After::Node(before) = link.0
            && let Some(before) = self.nodes.get_mut(&before)
        {
            before.followers += 1;
        }
        self.tree.insert(link.clone(), id);
        self.nodes.insert(id, Node { link, block, domain, followers: 0, used: 0 });
        if let Some(slot) = self.slot(block) {
            slot.node = Some(id);
        }
        id
    }

    fn slot(&mut self, block: BlockId) -> Option<&mut Slot> {
        self.slots.get_mut(block.index())
    }

    fn holders(&self, node: NodeId) -> u32 {
        let slot = self.nodes.get(&node).and_then(|node| self.slots.get(node.block.index()));
        slot.map_or(0, |slot| slot.holders)
    }

    fn hold(&mut self, block: BlockId, domain: CacheDomain) {
        let Some(slot) = self.slot(block) else { return };
        slot.holders += 1;
        let (holders, node) = (slot.holders, slot.node);
        if holders > 1 {
            return;
        }
        if let Some(part) = self.parts.get_mut(&domain) {
            part.held += 1;
        }
        if let Some(id) = node {
            self.kept -= 1;
            if let Some(node) = self.nodes.get(&id)
                && let Some(part) = self.parts.get_mut(&node.domain)
            {
                part.leaves.remove(&(node.used, id));
            }
        }
    }

    fn let_go(&mut self, block: BlockId, domain: CacheDomain, generator: &mut dyn Generator) {
        self.clock += 1;
        let now = self.clock;
        let Some(slot) = self.slot(block) else { return };
        slot.holders -= 1;
        let (holders, node) = (slot.holders, slot.node);
        if holders == 0
            && let Some(part) = self.parts.get_mut(&domain)
        {
            part.held -= 1;
        }
        match (holders, node) {
            (0, None) => {
                generator.erase(&[block]);
                self.free.push(block);
                self.take_away(domain);
            }
            (0, Some(id)) if !self.keeps => {
                self.forget(id);
                generator.erase(&[block]);
                self.free.push(block);
            }
            (0, Some(id)) => {
                self.kept += 1;
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.used = now;
                    if node.followers == 0 {
                        self.parts.entry(domain).or_default().leaves.insert((now, id));
                    }
                }
            }
            _ => {}
        }
    }

    /// Counts one block less for a domain.
    fn take_away(&mut self, domain: CacheDomain) {
        if let Some(part) = self.parts.get_mut(&domain) {
            part.blocks -= 1;
            if part.blocks == 0 {
                self.parts.remove(&domain);
            }
        }
    }

    /// Takes a kept block out of the tree, erased, for `domain`, which counts as having it already; see the module for whose and which.
    fn give_up(&mut self, domain: CacheDomain, generator: &mut dyn Generator) -> Option<BlockId> {
        let fullest = |(of, part): (&CacheDomain, &Part)| {
            let first = part.leaves.first().copied()?;
            Some((part.fullness(u64::from(*of == domain)), Reverse(first)))
        };
        let (_, Reverse((_, id))) = self.parts.iter().filter_map(fullest).max()?;
        let block = self.forget(id)?;
        self.kept -= 1;
        generator.erase(&[block]);
        Some(block)
    }

    /// Takes a node that nothing comes after out of the tree; its block, which counts for nobody now.
    fn forget(&mut self, id: NodeId) -> Option<BlockId> {
        let node = self.nodes.remove(&id)?;
        self.tree.remove(&node.link);
        if let Some(slot) = self.slot(node.block) {
            slot.node = None;
        }
        let mut uncovered = None;
        if let After::Node(before) = node.link.0
            && let Some(before_node) = self.nodes.get_mut(&before)
        {
            before_node.followers -= 1;
            let (followers, used) = (before_node.followers, before_node.used);
            if followers == 0 && self.holders(before) == 0 {
                uncovered = Some((used, before));
            }
        }
        if let Some(part) = self.parts.get_mut(&node.domain) {
            part.leaves.remove(&(node.used, id));
            part.leaves.extend(uncovered);
        }
        self.take_away(node.domain);
        Some(node.block)
    }
}
