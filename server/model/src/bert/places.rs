//! What is added to the vector of a token for where it stands: at which position, and in which text of a pair.

use super::config::{Config, Family};
use crate::error::LoadError;
use crate::kernel::Pages;
use crate::weights::Weights;
use anchorhold_engine::TokenId;

/// The tables of positions, and how tokens are numbered.
pub(super) struct Places {
    /// For each text of an input the vectors of all positions, with that of the text's type added.
    tables: Vec<Pages<f32>>,
    hidden: usize,
    /// Ends the first text, where the model tells the texts of a pair apart.
    separator: Option<TokenId>,
    /// The token that is no position and stands at its own number; the others are numbered from there on. `None` numbers all from zero.
    padding: Option<usize>,
}

impl Places {
    /// Takes the tensors of positions and types. `separator` ends the first text of a pair whose second is of the next type.
    ///
    /// # Errors
    /// A tensor is not there, or the model has one type only.
    pub(super) fn new(
        config: &Config,
        prefix: &str,
        separator: Option<TokenId>,
        weights: &mut Weights,
    ) -> Result<Self, LoadError> {
        let hidden = config.hidden;
        let positions = weights.passing(&format!("{prefix}embeddings.position_embeddings.weight"))?;
        let types = weights.passing(&format!("{prefix}embeddings.token_type_embeddings.weight"))?;
        let texts = if separator.is_some() { 2 } else { 1 };
        if config.types < texts {
            return Err(LoadError::Config("type_vocab_size is less than the tokenizer's types"));
        }
        let table = |kind: &[f32]| {
            let mut table = Pages::copy_of(&positions);
            for line in table.chunks_exact_mut(hidden) {
                line.iter_mut().zip(kind).for_each(|(value, kind)| *value += kind);
            }
            weights.keep(table)
        };
        Ok(Self {
            tables: types.chunks_exact(hidden).take(texts).map(table).collect(),
            hidden,
            separator,
            padding: (config.family == Family::Roberta).then_some(config.padding),
        })
    }

    /// The vector of each token's place.
    pub(super) fn of<'a>(&'a self, input: &'a [TokenId]) -> impl Iterator<Item = &'a [f32]> {
        let (mut text, mut next) = (0, self.padding.map_or(0, |padding| padding + 1));
        input.iter().map(move |&token| {
            let own = self.padding.filter(|&padding| padding == token as usize);
            let position = own.unwrap_or(next);
            next += usize::from(own.is_none());
            let table = self.tables.get(text);
            if Some(token) == self.separator {
                text = 1;
            }
            let first = position * self.hidden;
            table.and_then(|table| table.get(first..first + self.hidden)).unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(separator: Option<TokenId>, padding: Option<usize>) -> Places {
        let table =
            |kind: f32| Pages::copy_of(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0].map(|at: f32| at + kind));
        Places { tables: vec![table(0.0), table(100.0)], hidden: 1, separator, padding }
    }

    fn of(places: &Places, input: &[TokenId]) -> Vec<f32> {
        places.of(input).map(|place| place[0]).collect()
    }

    #[test]
    fn the_second_text_begins_after_the_first_separator() {
        assert_eq!(of(&places(Some(9), None), &[2, 5, 9, 6, 9]), [0.0, 1.0, 2.0, 103.0, 104.0]);
        assert_eq!(of(&places(None, None), &[2, 5, 9, 6, 9]), [0.0, 1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn padding_is_no_position_of_roberta() {
        // As `create_position_ids_from_input_ids` of transformers.
        assert_eq!(of(&places(None, Some(1)), &[0, 1, 5, 1, 6]), [2.0, 1.0, 3.0, 1.0, 4.0]);
    }
}
