//! Which block of the generator's memory holds what: blocks that sequences share, and a tree of those that may be found again.
//!
//! A block holds the keys and values of a fixed number of positions. What is in it depends on every token from the beginning of the
//! sequence to the block's last, so blocks are found by that: a node of the tree is one block's tokens below the node before it, and
//! the first ones hang from a [`CacheDomain`]. Tokens are compared, not hashes of them, and nothing is found across domains.
//!
//! A block is in one of three states: held by at least one sequence; kept, which is held by nobody and found in the tree; or free,
//! which is erased. Held blocks may be in the tree too. Kept ones are given up when blocks are needed, the one that was used
//! longest ago first, and never before what hangs from it.

use crate::{BlockId, Generator, TokenId};
use std::collections::{BTreeSet, HashMap};

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

#[derive(Debug)]
struct Node {
    link: Link,
    block: BlockId,
    /// Nodes that come after this one.
    followers: u32,
    used: u64,
}

#[derive(Debug, Default)]
struct Slot {
    holders: u32,
    node: Option<NodeId>,
}

/// The blocks of one generator.
#[derive(Debug)]
pub(crate) struct BlockCache {
    /// Positions of one block.
    size: usize,
    slots: Vec<Slot>,
    /// Erased and held by nobody; the last is taken first, so that memory that was never used stays so.
    free: Vec<BlockId>,
    tree: HashMap<Link, NodeId>,
    nodes: HashMap<NodeId, Node>,
    /// Nodes whose blocks are held by nobody and that nothing comes after, by when they were used.
    leaves: BTreeSet<(u64, NodeId)>,
    /// Nodes whose blocks are held by nobody.
    kept: usize,
    next_node: u64,
    clock: u64,
    /// Whether blocks that nobody holds any more are kept, to be found again.
    keeps: bool,
}

/// The blocks that one sequence holds, from its first position on.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) blocks: Vec<BlockId>,
    /// What the first block comes after.
    root: After,
    after: After,
    /// How many of the blocks are in the tree, or found to be there.
    found: usize,
}

impl Table {
    pub(crate) fn new(domain: CacheDomain) -> Self {
        Self::from(After::Nothing(domain))
    }

    fn from(root: After) -> Self {
        Self { blocks: Vec::new(), root, after: root, found: 0 }
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
            leaves: BTreeSet::new(),
            kept: 0,
            next_node: 0,
            clock: 0,
            keeps,
        }
    }

    /// A table for each choice of the request with this number, which find each other's blocks: those of the whole domain where blocks
    /// are kept, and their own alone where nothing is.
    pub(crate) fn table_of_choices(&self, domain: CacheDomain, request: u64) -> Table {
        Table::from(if self.keeps { After::Nothing(domain) } else { After::Choices(request) })
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

    /// Blocks that nobody holds and that are not kept.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Holds as many blocks as begin `tokens` and are in the tree, and gives back how many. All but the last token at most, since a
    /// step must have one to compute. Holds nothing and gives back `None` when what `tokens` take beyond that, and `spare` more, is not
    /// available.
    pub(crate) fn begin(&mut self, table: &mut Table, tokens: &[TokenId], spare: usize) -> Option<usize> {
        let mut found = Vec::new();
        let mut after = table.after;
        let whole = tokens.len().saturating_sub(1) / self.size * self.size;
        for part in tokens.get(..whole).unwrap_or_default().chunks_exact(self.size) {
            let Some(&node) = self.tree.get(&(after, Box::from(part))) else { break };
            after = After::Node(node);
            found.push(node);
        }
        let kept = found.iter().filter(|node| self.holders(**node) == 0).count();
        if self.blocks_for(tokens.len()) - found.len() + spare > self.available() - kept {
            return None;
        }
        for node in &found {
            if let Some(block) = self.nodes.get(node).map(|node| node.block) {
                self.hold(block);
                table.blocks.push(block);
            }
        }
        (table.after, table.found) = (after, found.len());
        Some(found.len() * self.size)
    }

    /// Makes the table long enough for positions before `end`. Presumes that as many blocks are available.
    pub(crate) fn extend(&mut self, table: &mut Table, end: usize, generator: &mut dyn Generator) {
        while table.blocks.len() < self.blocks_for(end) {
            let Some(block) = self.free.pop().or_else(|| self.give_up(generator)) else { return };
            self.hold(block);
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
                        self.hold(other);
                        if let Some(slot) = table.blocks.get_mut(place) {
                            *slot = other;
                        }
                        self.let_go(own, generator);
                    }
                    node
                }
                None => self.add(link, own),
            };
            (table.after, table.found) = (After::Node(node), place + 1);
        }
    }

    /// Lets go of everything that the table holds. What can be found again is kept, the rest is erased.
    pub(crate) fn release(&mut self, table: &mut Table, generator: &mut dyn Generator) {
        // The last first: what comes after goes before what it comes after.
        let empty = Table::from(table.root);
        for block in std::mem::replace(table, empty).blocks.into_iter().rev() {
            self.let_go(block, generator);
        }
    }

    fn add(&mut self, link: Link, block: BlockId) -> NodeId {
        let id = NodeId(self.next_node);
        self.next_node += 1;
        if let After::Node(before) = link.0
            && let Some(before) = self.nodes.get_mut(&before)
        {
            before.followers += 1;
        }
        self.tree.insert(link.clone(), id);
        self.nodes.insert(id, Node { link, block, followers: 0, used: 0 });
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

    fn hold(&mut self, block: BlockId) {
        let Some(slot) = self.slot(block) else { return };
        slot.holders += 1;
        let (holders, node) = (slot.holders, slot.node);
        if holders == 1
            && let Some(id) = node
        {
            self.kept -= 1;
            if let Some(node) = self.nodes.get(&id) {
                self.leaves.remove(&(node.used, id));
            }
        }
    }

    fn let_go(&mut self, block: BlockId, generator: &mut dyn Generator) {
        self.clock += 1;
        let now = self.clock;
        let Some(slot) = self.slot(block) else { return };
        slot.holders -= 1;
        let (holders, node) = (slot.holders, slot.node);
        match (holders, node) {
            (0, None) => {
                generator.erase(&[block]);
                self.free.push(block);
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
                        self.leaves.insert((now, id));
                    }
                }
            }
            _ => {}
        }
    }

    /// Takes the block out of the tree that was used longest ago, erased.
    fn give_up(&mut self, generator: &mut dyn Generator) -> Option<BlockId> {
        let (_, id) = self.leaves.pop_first()?;
        let block = self.forget(id)?;
        self.kept -= 1;
        generator.erase(&[block]);
        Some(block)
    }

    /// Takes a node that nothing comes after out of the tree; its block.
    fn forget(&mut self, id: NodeId) -> Option<BlockId> {
        let node = self.nodes.remove(&id)?;
        self.tree.remove(&node.link);
        if let Some(slot) = self.slot(node.block) {
            slot.node = None;
        }
        if let After::Node(before) = node.link.0
            && let Some(before_node) = self.nodes.get_mut(&before)
        {
            before_node.followers -= 1;
            let (followers, used) = (before_node.followers, before_node.used);
            if followers == 0 && self.holders(before) == 0 {
                self.leaves.insert((used, before));
            }
        }
        Some(node.block)
    }
}
