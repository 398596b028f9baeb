#!/usr/bin/env python3
"""Trains anchor-chat, the small chat model that the project makes itself, from chat_corpus.txt beside this file.

usage: make_chat_model.py OUT_DIR [SECONDS] [THREADS]

Needs torch, transformers, tokenizers and safetensors. Writes a Hugging Face folder (bf16 safetensors). The seed is fixed, but
sums on another processor or another torch differ in the last bits, so a new run gives a model that is alike, not equal:
tests/vectors/models/make_goldens.py must be run again after it.
"""
import json
import os
import random
import sys
import time
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 20261122
CONTEXT = 512
VOCABULARY = 768
SPECIAL = ["<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
SYSTEM = ["You are a helpful assistant.", "Answer briefly.", "You answer questions about Anchorhold.", "Be kind and exact."]
TEMPLATE = """\
{{- bos_token }}
{%- if tools %}
    {{- '<|system|>Tools:' }}
    {%- for tool in tools %}
        {{- '\\n' + (tool.function | tojson) }}
    {%- endfor %}
    {{- '<|end|>' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role in ['system', 'developer'] %}
        {{- '<|system|>' }}
    {%- elif message.role in ['user', 'assistant'] %}
        {{- '<|' + message.role + '|>' }}
    {%- elif message.role == 'tool' %}
        {{- '<|user|>Result: ' }}
    {%- else %}
        {{- raise_exception('this model knows system, user, assistant and tool messages only') }}
    {%- endif %}
    {%- if message.content is string %}
        {{- message.content | trim }}
    {%- endif %}
    {%- for call in message.tool_calls or [] %}
        {{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) + '}\\n</tool_call>' }}
    {%- endfor %}
    {{- '<|end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
{%- endif %}
"""


def read_corpus(path):
    """The pairs of the corpus: ([ways to ask], answer)."""
    pairs = []
    for block in path.read_text().split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        if not lines:
            continue
        asks = [line[3:] for line in lines if line.startswith("Q: ")]
        answers = [line[3:] for line in lines if line.startswith("A: ")]
        if not asks or len(answers) != 1 or len(asks) + 1 != len(lines):
            raise SystemExit(f"block needs Q: lines and one A: line: {lines[0]!r}")
        pairs.append((asks, answers[0]))
    return pairs


def make_tokenizer(texts):
    """A byte-level BPE: every text can be encoded, none needs an unknown token."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator(texts, trainer)
    inner.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|end|>",
        additional_special_tokens=SPECIAL[2:], model_max_length=CONTEXT, clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TEMPLATE
    return fast


def vary(question, rng):
    """The same question as a hurried person types it."""
    kind = rng.random()
    if kind < 0.15:
        question = question.lower()
    if kind > 0.8:
        question = question.rstrip("?.!")
    return question


def conversation(pairs, rng):
    """One conversation as (text, learn) pieces; only what the assistant says is learnt."""
    pieces = [("<|begin|>", False)]
    if rng.random() < 0.35:
        pieces.append((f"<|system|>{rng.choice(SYSTEM)}<|end|>", False))
    for asks, answer in rng.sample(pairs, rng.choice([1, 1, 1, 2, 3])):
        pieces.append((f"<|user|>{vary(rng.choice(asks), rng)}<|end|><|assistant|>", False))
        pieces.append((answer + "<|end|>", True))
    return pieces


def batch(pairs, tokenizer, rng, size):
    """Token ids and labels of `size` conversations, padded to the longest."""
    rows = []
    for _ in range(size):
        ids, labels = [], []
        for text, learn in conversation(pairs, rng):
            piece = tokenizer(text, add_special_tokens=False).input_ids
            ids += piece
            labels += piece if learn else [-100] * len(piece)
        rows.append((ids, labels))
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([r + [0] * (longest - len(r)) for r, _ in rows])
    labels = torch.tensor([l + [-100] * (longest - len(l)) for _, l in rows])
    return ids, labels


def train(model, pairs, tokenizer, seconds):
    """Trains until the time is up or the loss stays low."""
    rng = random.Random(SEED)
    steps = 1500
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.95), weight_decay=0.02)
    began, smooth = time.monotonic(), None
    for step in range(steps):
        progress = max(step / steps, (time.monotonic() - began) / seconds)
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1, (step + 1) / 40) * max(0.02, 1 - progress)
        ids, labels = batch(pairs, tokenizer, rng, 24)
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        smooth = loss.item() if smooth is None else 0.95 * smooth + 0.05 * loss.item()
        if step % 50 == 0:
            print(f"step {step} loss {smooth:.3f} after {time.monotonic() - began:.0f} s", flush=True)
    return step, smooth


def exact_answers(model, tokenizer, pairs):
    """How many questions are answered with exactly the corpus' answer, greedily."""
    right = asked = 0
    for asks, answer in pairs:
        for question in asks:
            ids = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True)
            out = model.generate(**ids, max_new_tokens=80, do_sample=False)
            text = tokenizer.decode(out[0, ids.input_ids.shape[1]:], skip_special_tokens=True)
            asked += 1
            right += text == answer
            if text != answer:
                print(f"{question} -> {text}")
    return right, asked


def main():
    out = Path(sys.argv[1])
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 180.0
    torch.set_num_threads(int(sys.argv[3]) if len(sys.argv) > 3 else 2)
    torch.manual_seed(SEED)
    pairs = read_corpus(Path(__file__).with_name("chat_corpus.txt"))
    texts = [text for asks, answer in pairs for text in (*asks, answer)] + SYSTEM
    tokenizer = make_tokenizer(texts)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=384, max_position_embeddings=CONTEXT, tie_word_embeddings=True, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        bos_token_id=0, eos_token_id=1, pad_token_id=1, initializer_range=0.05,
    ))
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(pairs)} pairs")
    steps, loss = train(model, pairs, tokenizer, seconds)
    # What is judged is what is saved: the weights as they are after rounding to bf16.
    model = model.to(torch.bfloat16).float().eval()
    right, asked = exact_answers(model, tokenizer, pairs)
    print(f"{steps} steps, loss {loss:.3f}, {right} of {asked} questions answered exactly")
    if right < 0.9 * asked:
        raise SystemExit("too few exact answers; train longer")
    model.to(torch.bfloat16).save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    print(json.dumps({p.name: p.stat().st_size for p in sorted(out.iterdir())}))


main()
