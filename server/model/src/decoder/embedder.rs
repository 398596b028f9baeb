//! A decoder whose states, pooled, are the vectors of texts, such as Qwen3-Embedding.

use super::{Config, Decoder};
use crate::cache::Cache;
use crate::error::LoadError;
use crate::kernel::WIDTH;
use crate::ops::{self, failed};
use crate::passes;
use crate::pooling::Pooling;
use crate::threads::Threads;
use crate::weights::Weights;
use anchorhold_engine::{BackendError, BlockId, Embedder, Row, TokenId};
use candle_core::Result as Tensors;

/// A decoder with pooling. It generates nothing and keeps nothing between calls.
pub(crate) struct DecoderEmbedder {
    decoder: Decoder,
    pooling: Pooling,
}

impl DecoderEmbedder {
    /// Builds the model from its tensors, which are those of [`Config::needs`].
    ///
    /// # Errors
    /// A tensor is not there, which [`Weights::load`] rules out.
    pub(crate) fn new(
        config: &Config,
        weights: Weights,
        pooling: Pooling,
        threads: &Threads,
    ) -> Result<Self, LoadError> {
        let mut decoder = Decoder::new(config, weights, threads)?;
        // All tokens of an input are computed at once, so no layer needs the keys and values of another.
        decoder.sizes.cache.layers = 1;
        Ok(Self { decoder, pooling })
    }

    /// The vectors of some inputs.
    fn pass(&self, inputs: &[&[TokenId]]) -> Tensors<Vec<Vec<f32>>> {
        let hidden = self.decoder.sizes.hidden;
        // A cache of its own, which is erased when it goes.
        let mut cache = Cache::new(self.decoder.sizes.cache);
        let mut free = (0..).map(BlockId);
        let blocks = |input: &&[TokenId]| free.by_ref().take(input.len().div_ceil(WIDTH)).collect();
        let blocks: Vec<Vec<BlockId>> = inputs.iter().map(blocks).collect();
        let row = |(&tokens, blocks)| Row { tokens, start: 0, blocks };
        let rows: Vec<Row<'_>> = inputs.iter().zip(blocks.iter().map(Vec::as_slice)).map(row).collect();
        rows.iter().for_each(|row| cache.reserve(row.blocks));
        let states = self.decoder.states(&rows, &mut cache)?;
        let states = ops::normalise(self.decoder.isa, &states, &self.decoder.norm)?;
        let states = states.flatten_all()?.to_vec1::<f32>()?;
        let mut rest = states.as_slice();
        let pool = |input: &&[TokenId]| {
            let (own, tail) = rest.split_at((input.len() * hidden).min(rest.len()));
            rest = tail;
            self.pooling.pool(own, hidden)
        };
        Ok(inputs.iter().map(pool).collect())
    }
}

impl Embedder for DecoderEmbedder {
    fn dimensions(&self) -> usize {
        self.pooling.dimensions(self.decoder.sizes.hidden)
    }

    fn context(&self) -> usize {
        self.pooling.max_tokens.unwrap_or(usize::MAX).min(self.decoder.sizes.context)
    }

    fn embed(&mut self, inputs: &[&[TokenId]]) -> Result<Vec<Vec<f32>>, BackendError> {
        passes::check(inputs, self.context(), self.decoder.sizes.vocabulary)?;
        let mut vectors = Vec::with_capacity(inputs.len());
        for pass in passes::cut(inputs) {
            vectors.extend(self.decoder.threads.run(|| self.pass(pass)).map_err(failed)?);
        }
        Ok(vectors)
    }
}
