#!/usr/bin/env python3
"""Makes the tiny encoders beside this file, and what sentence-transformers computes with them in f32: ../vectors/models/encoders.json.

usage: make_encoders.py

Needs torch, transformers, sentence-transformers and tokenizers. The weights are noise of a fixed seed; the same numbers come out on every
machine. The embedding model is pooled in every way that sentence-transformers has; the rerankers score pairs, with and without a sigmoid.
"""
import base64
import json
import os
import shutil
import zlib
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
import numpy as np
import sentence_transformers
import torch
import transformers
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
GOLDENS = HERE.parent / "vectors/models/encoders.json"
SEED = 1
HIDDEN = 32
CONTEXT = 64
SHAPE = {
    "hidden_size": HIDDEN, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
# One text of one letter, some of several words, one as long as the context, one with letters that no vocabulary has.
TEXTS = ["a", "the quick brown fox", "jumps over the lazy dog, twice", "x" * 30 + " " + "y" * 30, "naïve 🦀 crab"]
PAIRS = [
    ("what is a panda", "the giant panda is a bear"), ("what is a panda", "hi"), ("a", "b"), ("hi there", "there hi"),
    ("q" * 20, "d" * 38),
]
MODES = ["cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


def packed(values):
    """Little-endian f32 in base64."""
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()


def fill(model):
    """Noise in every tensor, by its name: deviation 0.2, around one for the scales of norms."""
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = np.random.default_rng([SEED, zlib.crc32(name.encode())]).standard_normal(tuple(tensor.shape), dtype=np.float32)
            center = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            tensor.copy_(torch.from_numpy(noise * np.float32(0.2) + np.float32(center)))


def unigram_tokenizer():
    """As XLM-RoBERTa: sentencepiece's unigrams, here single characters and a few words."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [(piece, 0.0) for piece in special] + [("▁", -3.0)]
    pieces += [(chr(code), -5.0 - code / 100) for code in range(33, 127)]
    pieces += [(f"▁{word}", -4.0) for word in ["the", "a", "is", "panda", "hi", "what"]]
    inner = Tokenizer(models.Unigram(pieces + [("<mask>", 0.0)], unk_id=3))
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", sep_token="</s>", cls_token="<s>", unk_token="<unk>", pad_token="<pad>",
        mask_token="<mask>", model_max_length=CONTEXT, model_input_names=["input_ids", "attention_mask"],
    )


def wordpiece_tokenizer():
    """As BERT: lower-case characters, first and following, and a few words."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    tokens += [f"##{chr(code)}" for code in range(97, 123)] + ["the", "is", "panda", "what", "##ere"]
    inner = Tokenizer(models.WordPiece({token: id for id, token in enumerate(tokens)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="[UNK]", sep_token="[SEP]", pad_token="[PAD]", cls_token="[CLS]", mask_token="[MASK]",
        model_max_length=CONTEXT, model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def save(folder, model, tokenizer):
    fill(model)
    model.eval().save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def roberta(tokenizer, labels):
    return transformers.XLMRobertaConfig(
        **SHAPE, vocab_size=len(tokenizer), max_position_embeddings=CONTEXT + 2, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1,
        bos_token_id=0, eos_token_id=2, num_labels=labels,
    )


def make_embedder(folder):
    """The goldens of all kinds of pooling; saved are the files of one of them."""
    tokenizer = unigram_tokenizer()
    save(folder, transformers.XLMRobertaModel(roberta(tokenizer, 1), add_pooling_layer=False), tokenizer)
    base = Transformer(str(folder))
    kinds = {}
    for mode in [*MODES, ["cls", "mean"]]:
        for ends in [[], [Normalize()]]:
            model = SentenceTransformer(modules=[base, Pooling(HIDDEN, pooling_mode=mode), *ends], device="cpu")
            name = mode if isinstance(mode, str) else "+".join(mode)
            vectors = [model.encode([text])[0] for text in TEXTS]
            kinds[name + ("+normalize" if ends else "")] = [packed(vector) for vector in vectors]
    SentenceTransformer(modules=[base, Pooling(HIDDEN, pooling_mode="cls"), Normalize()], device="cpu").save(str(folder), create_model_card=False)
    # Says nothing, and has no place in a sealed package.
    shutil.rmtree(folder / "2_Normalize")
    rows = [{"text": text, "tokens": tokenizer(text)["input_ids"]} for text in TEXTS]
    return {"texts": rows, "poolings": kinds}


def make_reranker(folder, model, tokenizer):
    save(folder, model, tokenizer)
    encoder = CrossEncoder(str(folder), device="cpu")
    rows = []
    for query, document in PAIRS:
        tokens = tokenizer(query, document)["input_ids"]
        logit = encoder.predict([(query, document)], activation_fn=torch.nn.Identity())
        score = encoder.predict([(query, document)])
        rows.append({"query": query, "document": document, "tokens": tokens, "logit": packed(logit), "score": packed(score)})
    return {"pairs": rows}


def main():
    torch.set_num_threads(1)
    known = {"xlm-roberta": make_embedder(HERE / "tiny-xlm-roberta")}
    tokenizer = unigram_tokenizer()
    model = transformers.XLMRobertaForSequenceClassification(roberta(tokenizer, 1))
    known["xlm-reranker"] = make_reranker(HERE / "tiny-xlm-reranker", model, tokenizer)
    tokenizer = wordpiece_tokenizer()
    config = transformers.BertConfig(
        **SHAPE, vocab_size=len(tokenizer), max_position_embeddings=CONTEXT, type_vocab_size=2, pad_token_id=0, num_labels=1
    )
    known["bert-reranker"] = make_reranker(HERE / "tiny-bert-reranker", transformers.BertForSequenceClassification(config), tokenizer)
    versions = [f"{module.__name__} {module.__version__}" for module in (sentence_transformers, transformers, torch)]
    known["made_with"] = ", ".join(versions)
    GOLDENS.write_text(json.dumps(known, indent=0, ensure_ascii=False) + "\n")
    print(f"{GOLDENS.name}: {GOLDENS.stat().st_size} bytes")


main()
