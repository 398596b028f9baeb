//! A decoder whose states, pooled, are the vectors of texts, such as Qwen3-Embedding.

use super::{Config, Decoder, Keep};
use crate::error::LoadError;
use crate::kernel::WIDTH;
use crate::math;
use crate::passes::{self, PASS_TOKENS};
use crate::pooling::Pooling;
use crate::rows::grow;
use crate::threads::Threads;
use crate::weights::Weights;
use anchorhold_engine::{BackendError, BlockId, Embedder, Generator as _, Row, TokenId};
use zeroize::Zeroizing;

/// A decoder with pooling. It generates nothing and keeps nothing between calls.
pub(crate) struct DecoderEmbedder {
    decoder: Decoder,
    pooling: Pooling,
    states: Zeroizing<Vec<f32>>,
}

impl DecoderEmbedder {
    /// Builds the model from its tensors, which are those of [`Config::needs`].
    ///
    /// # Errors
    /// A tensor is not there, which [`Weights::load`] rules out.
    pub(crate) fn new(
        config: &Config,
        weights: &mut Weights,
        pooling: Pooling,
        threads: &Threads,
    ) -> Result<Self, LoadError> {
        let decoder = Decoder::new(config, weights, threads, Keep::One)?;
        Ok(Self { decoder, pooling, states: Zeroizing::default() })
    }

    /// The vectors of some inputs.
    fn pass(&mut self, inputs: &[&[TokenId]], vectors: &mut Vec<Vec<f32>>) {
        let mut free = (0..).map(BlockId);
        let blocks = |input: &&[TokenId]| free.by_ref().take(input.len().div_ceil(WIDTH)).collect();
        let blocks: Vec<Vec<BlockId>> = inputs.iter().map(blocks).collect();
        let row = |(&tokens, blocks)| Row { tokens, start: 0, blocks };
        let rows: Vec<Row<'_>> = inputs.iter().zip(blocks.iter().map(Vec::as_slice)).map(row).collect();
        self.decoder.states(&rows);
        let (model, x) = (&self.decoder.model, &self.decoder.flow.x);
        let hidden = model.sizes.hidden;
        grow(&mut self.states, x.rows() * hidden);
        for (row, line) in self.states.chunks_exact_mut(hidden).take(x.rows()).enumerate() {
            x.copy_row(row, line);
            math::normalise(model.isa, &model.norm, line);
        }
        let mut rest = self.states.as_slice();
        vectors.extend(inputs.iter().map(|input| {
            let (own, tail) = rest.split_at((input.len() * hidden).min(rest.len()));
            rest = tail;
            self.pooling.pool(own, hidden)
        }));
        blocks.iter().for_each(|blocks| self.decoder.erase(blocks));
    }
}

impl Embedder for DecoderEmbedder {
    fn dimensions(&self) -> usize {
        self.pooling.dimensions(self.decoder.model.sizes.hidden)
    }

    fn context(&self) -> usize {
        self.pooling.max_tokens.unwrap_or(usize::MAX).min(self.decoder.model.sizes.context)
    }

    fn embed(&mut self, inputs: &[&[TokenId]]) -> Result<Vec<Vec<f32>>, BackendError> {
        passes::check(inputs, self.context(), self.decoder.model.sizes.vocabulary)?;
        let mut vectors = Vec::with_capacity(inputs.len());
        for pass in passes::cut(inputs, PASS_TOKENS) {
            self.pass(pass, &mut vectors);
        }
        Ok(vectors)
    }
}
