//! Questions about tokens, to models of every kind.

use crate::rig::{Rig, TENANCY, generate, text};
use crate::toy::{EOS, VOCABULARY, counter, reciter, scorer};
use anchorhold_engine::{ChatMessage, Prompt, RequestId, TokenField, TokenId};
use anchorhold_ipc::{Event, RejectReason, RequestError, Specials, WorkKind};
use anchorhold_worker::Limits;

fn tokenize(prompt: Prompt, specials: Specials, spell: bool) -> WorkKind {
    WorkKind::Tokenize { tenancy: TENANCY, prompt, specials, spell }
}

fn detokenize(tokens: &[TokenId]) -> WorkKind {
    WorkKind::Detokenize { tenancy: TENANCY, tokens: tokens.to_vec() }
}

fn tokens_of(text: &str) -> Vec<TokenId> {
    text.bytes().map(TokenId::from).collect()
}

fn rejected(id: u64, reason: RejectReason) -> Event {
    Event::Failed { id: RequestId(id), error: RequestError::Rejected(reason) }
}

#[test]
fn every_kind_of_model_tells_its_tokens_and_their_text() {
    for model in [reciter(16, None).0, counter(16, 4).0, scorer(16).0] {
        let mut rig = Rig::serving(model, Limits::default());
        rig.submit(1, tokenize(text("|é|"), Specials::Added, false));
        assert_eq!(
            rig.event(),
            Event::Tokenized { id: RequestId(1), tokens: tokens_of("|é|"), spelled: None }
        );
        rig.submit(2, tokenize(text("|é|"), Specials::Omitted, true));
        let Event::Tokenized { tokens, spelled, .. } = rig.event() else { panic!() };
        assert_eq!(tokens, tokens_of("é"));
        assert_eq!(spelled, Some(vec![vec![0xc3], vec![0xa9]]));
        rig.submit(3, detokenize(&tokens));
        assert_eq!(rig.event(), Event::Detokenized { id: RequestId(3), text: "é".to_owned() });
        rig.submit(4, detokenize(&[]));
        assert_eq!(rig.event(), Event::Detokenized { id: RequestId(4), text: String::new() });
    }
}

#[test]
fn counts_are_those_of_the_generation_with_the_same_prompt() {
    let mut rig = Rig::serving(reciter(64, None).0, Limits::default());
    let conversation = || Prompt::Chat(vec![ChatMessage::text("user", "naïve")].into());
    for prompt in [conversation, || text("naïve")] {
        rig.submit(1, tokenize(prompt(), Specials::Added, false));
        let Event::Tokenized { tokens, .. } = rig.event() else { panic!() };
        rig.submit(2, generate(prompt(), 1, &[]));
        assert_eq!(rig.read_generation().tokens_in, tokens.len() as u64);
    }
}

#[test]
fn a_text_longer_than_the_context_is_cut_all_the_same() {
    let mut rig = Rig::serving(reciter(4, None).0, Limits::default());
    rig.submit(1, tokenize(text("longer than four"), Specials::Added, false));
    let Event::Tokenized { tokens, .. } = rig.event() else { panic!() };
    assert_eq!(tokens.len(), 16);
}

#[test]
fn refuses_what_has_no_answer_or_too_long_a_one() {
    let (model, _) = reciter(4096, None);
    let mut rig = Rig::serving(model, Limits::default());
    let system = Prompt::Chat(vec![ChatMessage::text("system", "x")].into());
    rig.submit(1, tokenize(system, Specials::Added, false));
    assert_eq!(rig.event(), rejected(1, RejectReason::Template));
    let outside = TokenId::try_from(VOCABULARY).unwrap();
    rig.submit(2, detokenize(&[EOS, outside]));
    assert_eq!(rig.event(), rejected(2, RejectReason::UnknownToken(TokenField::Prompt)));
    rig.submit(3, tokenize(text(&"x".repeat(4096 * 256 + 1)), Specials::Omitted, false));
    assert_eq!(rig.event(), rejected(3, RejectReason::ContextLength { tokens: 4097, limit: 4096 }));
    // A million tokens fit by themselves, and not with a text for each.
    let long = "x".repeat(1_000_000);
    rig.submit(4, tokenize(text(&long), Specials::Added, true));
    assert_eq!(rig.event(), rejected(4, RejectReason::AnswerTooLong { limit: 8 << 20 }));
    rig.submit(5, tokenize(text(&long), Specials::Added, false));
    assert!(matches!(rig.event(), Event::Tokenized { tokens, .. } if tokens.len() == long.len()));
}
