//! The inputs of an embedding call, checked, and cut into passes through the layers.

use anchorhold_engine::{BackendError, TokenId};

/// Tokens of one pass of all threads.
pub(crate) const PASS_TOKENS: usize = 1024;

/// Checks the inputs of a call.
///
/// # Errors
/// An input is empty or longer than `context`, or has a token that is not below `vocabulary`.
pub(crate) fn check(inputs: &[&[TokenId]], context: usize, vocabulary: usize) -> Result<(), BackendError> {
    if inputs.iter().any(|input| input.is_empty() || input.len() > context) {
        return Err(BackendError::new("an input is empty or longer than the context"));
    }
    if inputs.iter().any(|input| input.iter().any(|&id| id as usize >= vocabulary)) {
        return Err(BackendError::new("a token is not in the vocabulary"));
    }
    Ok(())
}

/// Cuts the inputs into passes of at most `most` tokens, or of one input that is longer.
pub(crate) fn cut<'a>(
    mut inputs: &'a [&'a [TokenId]],
    most: usize,
) -> impl Iterator<Item = &'a [&'a [TokenId]]> {
    std::iter::from_fn(move || {
        let mut tokens = 0;
        let fits = |input: &&&[TokenId]| {
            tokens += input.len();
            tokens <= most
        };
        let count = inputs.iter().take_while(fits).count().max(1);
        let (pass, later) = inputs.split_at_checked(count)?;
        inputs = later;
        Some(pass)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_hold_every_input_once_and_in_order() {
        let long = vec![0; PASS_TOKENS + 1];
        let (half, one) = (&long[..PASS_TOKENS / 2], &long[..1]);
        let inputs = [half, half, one, &long, one];
        let lengths: Vec<Vec<usize>> =
            cut(&inputs, PASS_TOKENS).map(|pass| pass.iter().map(|input| input.len()).collect()).collect();
        assert_eq!(lengths, [vec![half.len(), half.len()], vec![1], vec![long.len()], vec![1]]);
        assert_eq!(cut(&[], 1).count(), 0);
    }

    #[test]
    fn refuses_inputs_that_do_not_fit() {
        for inputs in [[[].as_slice()], [&[0, 0, 0]], [&[5]]] {
            assert!(check(&inputs, 2, 5).is_err(), "{inputs:?}");
        }
        assert!(check(&[&[0, 4]], 2, 5).is_ok());
    }
}
