#!/usr/bin/env python3
"""Makes the tiny GGUF models in gguf/, and what their numbers give in f32: ../vectors/models/gguf.json.

usage: make_gguf.py

Needs torch, transformers, gguf and sentencepiece. Weights are noise of a fixed seed, quantised, and the references are of the numbers
that gguf's own dequantisation makes of them: transformers' logits, and the tokens of sentencepiece and tokenizers for some texts.
"""
import base64
import io
import json
import os
import zlib
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
import gguf
import numpy as np
import sentencepiece
import tokenizers
import torch
import transformers
from gguf import GGMLQuantizationType as Kind

HERE = Path(__file__).resolve().parent
OUT = HERE / "gguf"
GOLDENS = HERE.parent / "vectors/models/gguf.json"
SEED = 7
LENGTHS = [1, 2, 31, 33, 70]
TEXTS = ["What is Anchorhold?", "  two spaces, and\nlines\n\n", "caf\u00e9 \u20ac \U0001f680", "don't I'LL 12345 <s", ""]
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def packed(values):
    """Little-endian f32 in base64."""
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()


def noise(name, shape):
    generator = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    return generator.standard_normal(shape, dtype=np.float32) * np.float32(0.15)


def halves(values):
    return np.asarray(values, dtype=np.float16)


def q4_k(numbers):
    """Blocks of ggml's Q4_K by the plainest choice: each group's range, cut in fifteen."""
    groups = numbers.reshape(-1, 8, 32)
    least = np.minimum(groups.min(axis=2), 0.0)
    step = (groups.max(axis=2) - least) / 15.0
    d, dmin = halves(step.max(axis=1) / 63.0), halves((-least).max(axis=1) / 63.0)

    def sixths(values, unit):
        unit = unit.astype(np.float32)[:, None]
        return np.clip(np.round(np.divide(values, unit, out=np.zeros_like(values), where=unit > 0)), 0, 63).astype(np.uint8)

    sc, m = sixths(step, d), sixths(-least, dmin)
    scale, minimum = d.astype(np.float32)[:, None] * sc, dmin.astype(np.float32)[:, None] * m
    above = groups + minimum[:, :, None]
    quants = np.divide(above, scale[:, :, None], out=np.zeros_like(above), where=scale[:, :, None] > 0)
    quants = np.clip(np.round(quants), 0, 15).astype(np.uint8)
    scales = np.zeros((len(groups), 12), dtype=np.uint8)
    scales[:, 0:4] = sc[:, 0:4] | (sc[:, 4:8] >> 4) << 6
    scales[:, 4:8] = m[:, 0:4] | (m[:, 4:8] >> 4) << 6
    scales[:, 8:12] = (sc[:, 4:8] & 15) | (m[:, 4:8] & 15) << 4
    pairs = quants.reshape(-1, 4, 2, 32)
    nibbles = (pairs[:, :, 0] | pairs[:, :, 1] << 4).reshape(-1, 128)
    blocks = np.concatenate([d.view(np.uint8).reshape(-1, 2), dmin.view(np.uint8).reshape(-1, 2), scales, nibbles], axis=1)
    return blocks.reshape(*numbers.shape[:-1], -1)


def q6_k(numbers):
    """Blocks of ggml's Q6_K by the plainest choice: each group's largest number is 31 or -32 of its scale."""
    groups = numbers.reshape(-1, 16, 16)
    step = np.abs(groups).max(axis=2) / 31.0
    # Scales have a sign: every other group uses a negative one.
    step[:, 1::2] *= -1.0
    d = halves(np.abs(step).max(axis=1) / 127.0)
    unit = d.astype(np.float32)[:, None]
    sc = np.clip(np.round(np.divide(step, unit, out=np.zeros_like(step), where=unit > 0)), -128, 127).astype(np.int8)
    scale = (unit * sc)[:, :, None]
    quants = np.divide(groups, scale, out=np.zeros_like(groups), where=scale != 0)
    quants = (np.clip(np.round(quants), -32, 31) + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    low = np.concatenate([quants[:, :, 0:2] & 15 | (quants[:, :, 2:4] & 15) << 4], axis=2).reshape(-1, 128)
    high = quants[:, :, 0] >> 4 | quants[:, :, 1] >> 4 << 2 | quants[:, :, 2] >> 4 << 4 | quants[:, :, 3] >> 4 << 6
    blocks = np.concatenate([low, high.reshape(-1, 64), sc.view(np.uint8), d.view(np.uint8).reshape(-1, 2)], axis=1)
    return blocks.reshape(*numbers.shape[:-1], -1)


def quantise(numbers, kind):
    if kind == Kind.Q4_K:
        return q4_k(numbers)
    if kind == Kind.Q6_K:
        return q6_k(numbers)
    return gguf.quants.quantize(numbers, kind)


def side_by_side(weight, heads):
    """The rows of each head as llama.cpp turns them: the halves' rows in turn."""
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def own_name(name):
    outside = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    if name in outside:
        return outside[name]
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{NAMES[part]}.{kind}"


def write(path, config, kinds, tokenizer):
    """Writes the model and gives transformers' model of the numbers in it."""
    model = transformers.LlamaForCausalLM(config).eval()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    tokenizer(writer)
    if config.rope_parameters["rope_type"] == "llama3":
        plain = 1.0 / config.rope_parameters["rope_theta"] ** (torch.arange(0, config.head_dim, 2).double() / config.head_dim)
        writer.add_tensor("rope_freqs.weight", (plain / model.model.rotary_emb.inv_freq.double()).float().numpy())
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "norm" in name:
                numbers = noise(name, tuple(tensor.shape)) + np.float32(1.0)
                writer.add_tensor(own_name(name), numbers)
            else:
                kind = kinds(name)
                blocks = quantise(noise(name, tuple(tensor.shape)), kind)
                numbers = gguf.quants.dequantize(blocks, kind)
                stored = next((side_by_side(blocks, count) for part, count in heads.items() if part in name), blocks)
                writer.add_tensor(own_name(name), stored, raw_dtype=kind)
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(numbers)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def byte_level():
    """A byte-level vocabulary with some merges, and how a GGUF file says so."""
    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<s>", "</s>", "<user>", "<assistant>"],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
    )
    inner.train([str(HERE / "chat_corpus.txt")], trainer)
    model = json.loads(inner.to_str())["model"]

    def say(writer):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        tokens = sorted(model["vocab"], key=model["vocab"].get)
        writer.add_token_list(tokens)
        writer.add_token_types([3 if id < 4 else 1 for id in range(len(tokens))])
        writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
        writer.add_add_bos_token(True)
        writer.add_chat_template("{% for m in messages %}<user>{{ m.content }}{% endfor %}<assistant>")

    inner.encode_special_tokens = True
    return say, lambda text: [0] + inner.encode(text, add_special_tokens=False).ids, inner.get_vocab_size()


def sentence_piece():
    """A vocabulary of sentencepiece with bytes, and how a GGUF file says so."""
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        input=str(HERE / "chat_corpus.txt"), model_writer=trained, vocab_size=400, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, num_threads=1, minloglevel=2,
    )
    inner = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    ids = range(inner.get_piece_size())

    def kind(id):
        return 2 if inner.is_unknown(id) else 3 if inner.is_control(id) else 6 if inner.is_byte(id) else 1

    def say(writer):
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list([inner.id_to_piece(id) for id in ids])
        writer.add_token_scores([inner.get_score(id) for id in ids])
        writer.add_token_types([kind(id) for id in ids])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        writer.add_add_bos_token(True)

    return say, lambda text: [1] + inner.encode(text), len(ids)


def goldens(model, encode):
    rows = []
    for length in LENGTHS:
        ids = [(7 * i * i + 11 * i + 3 * length) % model.config.vocab_size for i in range(length)]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1].float().numpy()
        rows.append({"tokens": ids, "logits": packed(logits)})
    return {"prompts": rows, "texts": [{"text": text, "tokens": encode(text)} for text in TEXTS]}


def small(name):
    return Kind.F16 if "down_proj" in name else Kind.BF16 if "o_proj" in name else Kind.Q8_0


def large(name):
    return Kind.Q6_K if any(part in name for part in ("v_proj", "down_proj", "embed")) else Kind.Q4_K


def main():
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    shared = {"head_dim": 32, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "bos_token_id": 0, "eos_token_id": 1}
    known = {}
    say, encode, count = byte_level()
    config = transformers.LlamaConfig(
        **shared, vocab_size=count, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rope_parameters=LLAMA3, tie_word_embeddings=False,
    )
    known["llama-q8_0"] = goldens(write(OUT / "llama-q8_0.gguf", config, small, say), encode)
    say, encode, count = sentence_piece()
    config = transformers.LlamaConfig(
        **shared, vocab_size=count, hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_attention_heads=8,
        num_key_value_heads=2, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, tie_word_embeddings=True,
    )
    known["llama-q4_k_m"] = goldens(write(OUT / "llama-q4_k_m.gguf", config, large, say), encode)
    known["made_with"] = f"transformers {transformers.__version__}, torch {torch.__version__}, sentencepiece {sentencepiece.__version__}"
    GOLDENS.write_text(json.dumps(known, indent=0) + "\n")
    for path in [*sorted(OUT.iterdir()), GOLDENS]:
        print(f"{path.name}: {path.stat().st_size} bytes")


main()
