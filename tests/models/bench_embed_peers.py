#!/usr/bin/env python3
"""Sentences per second of sentence-transformers' stack (torch) and of onnxruntime, in f32, in the units of server/model/benches/embed.rs.

usage: bench_embed_peers.py MINILM_DIR [THREADS] [JSON=PATH] [CPU]

CPU counts the process' CPU time instead of wall time: with one thread it gives stable numbers on a busy machine. Peers take turns, so
that a busy machine slows all of them alike. Needs torch, transformers, onnx and onnxruntime.
"""
import json
import os
import statistics
import sys
import tempfile
import time

folder = sys.argv[1]
threads = next((int(a) for a in sys.argv[2:] if a.isdigit()), 1)
out = next((a[5:] for a in sys.argv[2:] if a.startswith("JSON=")), None)
clock = time.process_time if "CPU" in sys.argv else time.perf_counter
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS=str(threads))
import onnxruntime
import torch
from transformers import AutoModel

ROUNDS = 9
CASES = [(32, 64), (1, 16), (1, 64)]


class Sentences(torch.nn.Module):
    """What sentence-transformers does after the tokenizer: the model, the mean over the mask, length one."""

    def __init__(self, attention):
        super().__init__()
        self.model = AutoModel.from_pretrained(folder, attn_implementation=attention).eval()

    def forward(self, input_ids, attention_mask, token_type_ids):
        states = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(mean, dim=1)


def inputs(batch, length):
    ids = torch.arange(batch * length).reshape(batch, length) * 7919 % 20000 + 1000
    return ids, torch.ones_like(ids), torch.zeros_like(ids)


def main():
    torch.set_num_threads(threads)
    torch_model = Sentences("sdpa")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    with tempfile.TemporaryDirectory() as place:
        axes = {name: {0: "batch", 1: "length"} for name in names}
        torch.onnx.export(Sentences("eager"), inputs(2, 8), f"{place}/m.onnx", input_names=names, dynamic_axes=axes, opset_version=17, dynamo=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(f"{place}/m.onnx", options, providers=["CPUExecutionProvider"])

    def with_torch(x):
        with torch.inference_mode():
            return torch_model(*x)

    peers = {
        "sentence_transformers": with_torch,
        "onnxruntime": lambda x: session.run(None, {name: value.numpy() for name, value in zip(names, x)}),
    }
    report = []
    for batch, length in CASES:
        x = inputs(batch, length)
        times = {name: [] for name in peers}
        for round in range(ROUNDS + 1):
            for name, run in peers.items():
                before = clock()
                run(x)
                if round:
                    times[name].append(clock() - before)
        for name in peers:
            value = batch / statistics.median(times[name])
            report.append({"name": f"{name}_minilm_b{batch}_t{length}", "value": value, "unit": "sentences/s"})
            print(f"{report[-1]['name']}: {value:.1f} sentences/s")
    if out:
        with open(out, "w") as file:
            json.dump(report, file)


main()
