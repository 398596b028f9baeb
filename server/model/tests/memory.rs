//! A step takes no memory but for its answer, once the model has computed one of its size.

mod common;

use anchorhold_engine::{BlockId, Row};
use anchorhold_model::Precision;
use common::{anchor_chat, chat_with, embedding_with, minilm, tiny};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's memory, and how often it was asked for some.
struct Counting;

static ASKED: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator that counts")]
// SAFETY: everything is the system allocator's doing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the promises of `dealloc`, and `alloc` took it from there.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static MEMORY: Counting = Counting;

/// How often memory is asked for while `work` runs, at the least: each thread's memory grows with the largest task that it has drawn
/// so far, and which thread draws which is left to chance.
fn asked(mut work: impl FnMut()) -> Option<usize> {
    let count = |_| {
        let before = ASKED.load(Ordering::Relaxed);
        work();
        ASKED.load(Ordering::Relaxed) - before
    };
    (0..50).map(count).min()
}

/// One test, since the count is that of the process.
#[test]
fn a_step_takes_memory_for_its_answer_only() {
    for precision in [Precision::F32, Precision::Bf16] {
        for folder in [anchor_chat(), tiny("gemma2"), tiny("qwen3")] {
            let mut model = chat_with(&folder, 2, precision).generator;
            let prompt: Vec<u32> = (0..40).map(|i| 5 + i * 3 % 50).collect();
            let blocks: Vec<Vec<BlockId>> =
                (0..3).map(|row| vec![BlockId(2 * row), BlockId(2 * row + 1)]).collect();
            let rows = |tokens, start| -> Vec<Row<'_>> {
                blocks.iter().map(|blocks| Row { tokens, start, blocks }).collect()
            };
            let (prompts, words) = (rows(&prompt, 0), rows(&prompt[..1], 40));
            // The rows' logits and the list of them.
            let answer = Some(blocks.len() + 1);
            assert_eq!(
                asked(|| drop(model.step(&prompts).unwrap())),
                answer,
                "prefill of {folder:?} in {precision:?}"
            );
            assert_eq!(
                asked(|| drop(model.step(&words).unwrap())),
                answer,
                "decode of {folder:?} in {precision:?}"
            );
        }
        let mut model = embedding_with(&minilm(), 2, precision).embedder;
        let text: Vec<u32> = (0..50).map(|i| 1000 + i * 7).collect();
        for batch in [vec![text.as_slice()], vec![text.as_slice(); 8]] {
            // The list of the vectors, and for each what is pooled and what becomes of that.
            let answer = Some(2 * batch.len() + 1);
            let asked = asked(|| drop(model.embed(&batch).unwrap()));
            assert_eq!(asked, answer, "{} texts in {precision:?}", batch.len());
        }
    }
}
