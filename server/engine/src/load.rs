//! What a model has to do and holds, for those who watch it.

use serde::{Deserialize, Serialize};

/// Numbers of one model; none of them is about one request. Those of cache blocks are 0 for a model that generates nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Sequences that run.
    pub running: u64,
    /// Sequences, or inputs, that wait.
    pub waiting: u64,
    /// Blocks of the cache.
    pub blocks: u64,
    /// Those of them that sequences hold; what is only kept to be found again is not among them.
    pub blocks_held: u64,
    /// Positions of prompts that were looked for in the cache when their sequence first ran. Only grows.
    pub sought: u64,
    /// Those of them that were found. Only grows.
    pub found: u64,
    /// Sequences that were put back to make room. Only grows.
    pub put_back: u64,
}
