#!/usr/bin/env python3
"""Makes the tiny decoders beside this file, and what transformers computes with them in f32: ../vectors/models/decoders.json.

usage: make_decoders.py [FAMILY...]

Needs torch, transformers, tokenizers and safetensors. The weights are noise of a fixed seed, wide enough that a wrong rotation, mask or
norm shows in the logits; the same numbers come out on every machine. With families named, only their folders and goldens are made anew.
"""
import base64
import json
import os
import sys
import zlib
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
GOLDENS = HERE.parent / "vectors/models/decoders.json"
# The first of 1, 2, 3 under which no greedy step is a near tie.
SEED = 3
VOCABULARY = 128
GREEDY = 16
# How far the first token must be ahead of the second: five times what logits may differ.
MARGIN = 5e-4
# Shorter than a window, at its edge, and several times as long; across the blocks of 32 positions that the caches are made of.
LENGTHS = [1, 2, 19, 20, 21, 33, 64, 100]
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR = {"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 5000.0, "factor": 4.0, "original_max_position_embeddings": 32}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 5000.0, "factor": 4.0}
SWITCHED_ON = {"use_sliding_window": True, "sliding_window": 20}
# For each family its config, and for some of it other configs under which the same weights are computed again.
FAMILIES = {
    "llama": (
        transformers.LlamaConfig,
        {"head_dim": 16, "attention_bias": True, "rope_parameters": LLAMA3, "tie_word_embeddings": False},
        {
            "linear": {"rope_parameters": LINEAR},
            "dynamic": {"rope_parameters": DYNAMIC},
            "yarn": {"rope_parameters": YARN},
            "yarn, all set": {"rope_parameters": {**YARN, "beta_fast": 4.0, "beta_slow": 0.5, "attention_factor": 1.3, "truncate": False}},
            "yarn, mscale": {"rope_parameters": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.2}},
        },
    ),
    "mistral": (
        transformers.MistralConfig,
        {"head_dim": 16, "sliding_window": 20, "rope_parameters": PLAIN, "tie_word_embeddings": False},
        {"no window": {"sliding_window": None}, "narrow": {"sliding_window": 1}},
    ),
    "qwen2": (
        transformers.Qwen2Config,
        {"rope_parameters": PLAIN, "tie_word_embeddings": True, "use_sliding_window": False, "sliding_window": 20},
        {
            "window": {**SWITCHED_ON, "max_window_layers": 1, "layer_types": ["full_attention", "sliding_attention"]},
            "yarn": {"rope_parameters": {**YARN, "rope_theta": 10000.0}},
        },
    ),
    "qwen3": (
        transformers.Qwen3Config,
        {"head_dim": 16, "num_key_value_heads": 1, "rope_parameters": {**PLAIN, "rope_theta": 1000000.0}, "tie_word_embeddings": True},
        {
            "window": {**SWITCHED_ON, "layer_types": ["sliding_attention", "full_attention"]},
            "yarn": {"rope_parameters": {**YARN, "rope_theta": 1000000.0, "original_max_position_embeddings": 64, "factor": 2.0}},
        },
    ),
    "mixtral": (
        transformers.MixtralConfig,
        {
            "num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 24, "sliding_window": None, "rope_parameters": PLAIN,
            "tie_word_embeddings": False,
        },
        {"window": {"sliding_window": 20}, "one": {"num_experts_per_tok": 1}},
    ),
    "qwen3-moe": (
        transformers.Qwen3MoeConfig,
        {
            "head_dim": 16, "num_key_value_heads": 1, "num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 12,
            "norm_topk_prob": True, "mlp_only_layers": [0], "num_hidden_layers": 3, "rope_parameters": {**PLAIN, "rope_theta": 1000000.0},
            "tie_word_embeddings": True,
        },
        {
            "probabilities": {"norm_topk_prob": False, "num_experts_per_tok": 3},
            "window": {"use_sliding_window": True, "sliding_window": 20},
        },
    ),
    "gemma2": (
        transformers.Gemma2Config,
        {
            "head_dim": 16, "sliding_window": 20, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 4.0, "final_logit_softcapping": 6.0,
            "rope_parameters": PLAIN,
        },
        {"no caps": {"attn_logit_softcapping": None, "final_logit_softcapping": None}},
    ),
    "gemma3": (
        transformers.Gemma3TextConfig,
        {
            "head_dim": 16, "num_key_value_heads": 1, "sliding_window": 20, "query_pre_attn_scalar": 24,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {"sliding_attention": PLAIN, "full_attention": {**LINEAR, "rope_theta": 1000000.0}},
        },
        {"capped": {"final_logit_softcapping": 6.0}},
    ),
}


def packed(values):
    """Little-endian f32 in base64."""
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()


def fill(model):
    """Noise in every tensor, by its name: deviation 0.2, around one for norms, whose weights Gemma stores less one."""
    around = 0.0 if model.config.model_type.startswith("gemma") else 1.0
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = np.random.default_rng([SEED, zlib.crc32(name.encode())]).standard_normal(tuple(tensor.shape), dtype=np.float32)
            center = around if "norm" in name else 0.0
            tensor.copy_(torch.from_numpy(noise * np.float32(0.2) + np.float32(center)))


def make_tokenizer():
    """One token for each printable character of ASCII, after the special ones. Other characters are unknown."""
    special = ["<begin>", "<end>", "<unknown>", "<user>", "<assistant>"]
    tokens = special + [chr(code) for code in range(32, 127)]
    inner = Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, [], unk_token="<unknown>"))
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<begin>", eos_token="<end>", unk_token="<unknown>", pad_token="<end>",
        additional_special_tokens=special[3:], clean_up_tokenization_spaces=False,
    )


def prompt(length):
    return [(7 * i * i + 11 * i + 3 * length) % VOCABULARY for i in range(length)]


def last_logits(model, ids):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0, -1].float().numpy()


def greedy(model, ids):
    """Argmax. The end token does not end it: what counts is that every step agrees, so none may be a near tie."""
    out = []
    while len(out) < GREEDY:
        logits = last_logits(model, ids + out)
        second, first = np.sort(logits)[-2:]
        if first - second < MARGIN:
            raise SystemExit(f"{first} and {second} are too near for a golden")
        out.append(int(np.argmax(logits)))
    return out


def load(folder, change):
    config = AutoConfig.from_pretrained(folder)
    for key, value in change.items():
        setattr(config, key, value)
    return AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32, attn_implementation="eager").eval()


def embedding(model, ids):
    """The state of the last token, of length one: what sentence-transformers makes of Qwen3-Embedding."""
    with torch.inference_mode():
        state = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
    return torch.nn.functional.normalize(state, dim=0).numpy()


def goldens(folder, variants):
    model = load(folder, {})
    rows = [{"tokens": ids, "logits": packed(last_logits(model, ids)), "greedy": greedy(model, ids)} for ids in map(prompt, LENGTHS)]
    others = []
    for name, change in variants.items():
        other = load(folder, change)
        others.append({"name": name, "change": change, "logits": [packed(last_logits(other, row["tokens"])) for row in rows]})
    vectors = [{"tokens": row["tokens"], "vector": packed(embedding(model, row["tokens"]))} for row in rows]
    return {"prompts": rows, "variants": others, "embeddings": vectors}


def main():
    torch.set_num_threads(1)
    families = sys.argv[1:] or list(FAMILIES)
    known = json.loads(GOLDENS.read_text()) if GOLDENS.exists() else {}
    for family in families:
        kind, config, variants = FAMILIES[family]
        folder = HERE / f"tiny-{family}"
        model = AutoModelForCausalLM.from_config(kind(**{**SHAPE, **config}), dtype=torch.float32)
        fill(model)
        model.save_pretrained(folder, safe_serialization=True)
        make_tokenizer().save_pretrained(folder)
        known[family] = goldens(folder, variants)
        print(f"{folder.name}: {sum(file.stat().st_size for file in folder.iterdir())} bytes")
    known["made_with"] = f"transformers {transformers.__version__}, torch {torch.__version__}"
    GOLDENS.write_text(json.dumps(known, indent=0) + "\n")
    print(f"{GOLDENS.name}: {GOLDENS.stat().st_size} bytes")


main()
