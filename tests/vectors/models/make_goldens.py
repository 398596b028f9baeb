#!/usr/bin/env python3
"""Writes minilm.json and anchor-chat.json beside this file: what sentence-transformers and transformers compute in f32.

usage: make_goldens.py MINILM_DIR [ANCHOR_CHAT_DIR]

MINILM_DIR is what tests/models/fetch_minilm.sh makes. Needs torch, transformers and sentence-transformers.
"""
import base64
import json
import os
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).parent
GREEDY = 24
PARAGRAPH = (
    "Confidential computing protects data while it is in use. The memory of the guest is encrypted with a key that only the processor knows, "
    "and the processor signs a report about what was started. A client checks the report before it sends a request. "
)
SENTENCES = [
    ".", "a", "?!", "0", "Hello", "hello", "HELLO", "Hello, world!", "  leading and trailing blanks  ", "two\nlines", "a\ttab and\r\na carriage return",
    "The weights key is released only after the evidence was verified.",
    "The key for the weights is given out only when the evidence has been checked.",
    "A cat sleeps on the warm roof.",
    "How do I read the audit log?", "What is a Merkle tree?", "A Merkle tree is a tree of digests.",
    "SEV-SNP, TDX and CCA are three ways to guard a virtual machine.",
    "X25519MLKEM768", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "https://example.org/a/b?c=d&e=f#g", "fn main() { println!(\"{}\", 1 + 2); }", "{\"key\": [1, 2.5, null, true]}", "SELECT * FROM entries WHERE index >= 10;",
    "3.14159 26535 89793", "1,000,000.00 EUR", "$5 + 7% = ?", "don't can't won't it's", "re-entrant, well-known, up-to-date",
    "e-mail: someone@example.org", "C++ and C# are not the same", "ALL CAPITALS ARE LOUD", "MiXeD cAsE",
    "Zürich, São Paulo, Kraków, Đà Nẵng", "naïve café déjà vu", "Größe und Straße", "İstanbul ve ışık", "combining: e\u0301 a\u0308 n\u0303",
    "今日は良い天気です。", "机密计算保护使用中的数据。", "기밀 컴퓨팅은 사용 중인 데이터를 보호합니다.", "これはテストです", "漢字とかなを混ぜた文",
    "مرحبا بالعالم", "الحوسبة السرية تحمي البيانات", "שלום עולם", "Привет, мир!", "Конфиденциальные вычисления", "Γειά σου Κόσμε", "สวัสดีชาวโลก", "नमस्ते दुनिया",
    "😀", "👩‍👩‍👧‍👦 family", "flags 🇩🇪 🇯🇵 and 👍🏽", "maths: ∑ ∫ √ ≤ ∞ 𝔸", "“quotes” – dashes — and … dots", "zero\u200bwidth and soft\u00adhyphen", "\u00a0no-break\u00a0space",
    "supercalifragilisticexpialidocious antidisestablishmentarianism", "a" * 90, "word " * 60, "x y z " * 40,
    PARAGRAPH, PARAGRAPH * 2, PARAGRAPH * 4, "The quick brown fox jumps over the lazy dog. " * 20,
    "Short answer: yes.", "Is the answer yes or no?", "Nobody answers at this number.",
]
CHATS = [
    [{"role": "user", "content": "What is attestation?"}],
    [{"role": "user", "content": "What are sealed weights?"}],
    [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "Does the audit log hold prompts?"}],
    [
        {"role": "user", "content": "What is a nonce?"},
        {"role": "assistant", "content": "A nonce is a number used once. It shows that evidence is fresh and not replayed."},
        {"role": "user", "content": "  What is the gateway?\n"},
    ],
    [{"role": "developer", "content": "Be kind and exact."}, {"role": "user", "content": "hello"}],
    [{"role": "user", "content": "Größe? 今日は 👍🏽 {\"a\": 1}"}],
    [{"role": "user", "content": "Tell me about the weather on the moon, in as many words as you can find."}],
    [{"role": "user", "content": "Who are you?"}],
]
# The weights of anchor-chat under another rotation, so that the scaling is checked without another model.
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def packed(values):
    """Little-endian f32 in base64."""
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()


def minilm(folder):
    from sentence_transformers import SentenceTransformer, __version__

    model = SentenceTransformer(str(folder), device="cpu")
    rows = []
    for text in SENTENCES:
        ids = model.tokenizer(text).input_ids
        if len(ids) > model.max_seq_length:
            raise SystemExit(f"{len(ids)} tokens would be cut: {text[:40]!r}")
        # One at a time: padding would change the last bits.
        vector = model.encode([text], convert_to_numpy=True)[0]
        rows.append({"text": text, "tokens": ids, "vector": packed(vector)})
    return {"made_with": f"sentence-transformers {__version__}, torch {torch.__version__}", "vectors": rows}


def last_logits(model, ids):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0, -1].float().numpy()


def greedy(model, ids, end):
    """Argmax, lowest id on a tie, until `end` or GREEDY tokens."""
    out = []
    while len(out) < GREEDY:
        token = int(np.argmax(last_logits(model, ids + out)))
        out.append(token)
        if token == end:
            break
    return out


def anchor_chat(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    config = AutoConfig.from_pretrained(folder)
    config.rope_parameters = LLAMA3
    scaled = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32).eval()
    chats = []
    for messages in CHATS:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False).input_ids
        chats.append({
            "messages": messages, "rendered": text, "tokens": ids,
            "logits": packed(last_logits(model, ids)), "llama3_logits": packed(last_logits(scaled, ids)),
            "greedy": greedy(model, ids, tokenizer.eos_token_id),
            "answer": tokenizer.decode(greedy(model, ids, tokenizer.eos_token_id), skip_special_tokens=True),
        })
    texts = [{"text": text, "tokens": tokenizer(text).input_ids} for text in SENTENCES[:60]]
    return {"made_with": f"transformers {transformers.__version__}, torch {torch.__version__}", "llama3": LLAMA3, "chats": chats, "texts": texts}


def write(name, value):
    path = HERE / name
    path.write_text(json.dumps(value, ensure_ascii=False, indent=0) + "\n")
    print(f"{name}: {path.stat().st_size} bytes")


def main():
    torch.set_num_threads(1)
    write("minilm.json", minilm(Path(sys.argv[1])))
    write("anchor-chat.json", anchor_chat(Path(sys.argv[2] if len(sys.argv) > 2 else HERE / "../../models/anchor-chat").resolve()))


main()
