"""Adds binary sizes and dependency counts to what the benchmarks wrote, prints the whole and writes it as JSON.

usage: bench_collect.py PARTS_DIR PROGRAMS_DIR [OUT_JSON]
"""

import json
import pathlib
import subprocess
import sys

PROGRAMS = {
    "anchorhold": "anchorhold",
    "anchorhold-keeper": "anchorhold-keeper",
    "anchorhold-gateway": "anchorhold-gateway",
    "anchorhold-worker": "anchorhold-worker",
    "anchorhold-fetcher": "anchorhold-fetcher",
    "anchorhold-key-broker": "anchorhold-key-broker",
}


def dependencies(package):
    """How many crates are in the normal dependency tree of a package, ours included, itself not."""
    command = ["cargo", "tree", "-p", package, "-e", "normal", "--prefix", "none", "--format", "{p}"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return len({line.removesuffix(" (*)") for line in lines}) - 1


def main():
    parts, programs = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    results = {}
    for part in sorted(parts.glob("*.json")):
        items = json.loads(part.read_text())
        _, _, threads = part.stem.partition("-")
        for item in items if isinstance(items, list) else [items]:
            name = item.pop("name")
            results[f"{name}_threads{threads}" if threads else name] = item
    for name, item in list(results.items()):
        for peer in ("sentence_transformers", "onnxruntime", "llama_cpp"):
            if f"{peer}_{name}" in results:
                ratio = item["value"] / results[f"{peer}_{name}"]["value"]
                results[f"{name}_against_{peer}"] = {**item, "peer": peer, "ratio": ratio}
    for program, package in PROGRAMS.items():
        results[f"size of {program}"] = {"value": (programs / program).stat().st_size, "unit": "bytes"}
        results[f"crates in {package}"] = {"value": dependencies(package), "unit": "crates"}
    results["crates in anchorhold-verifier"] = {"value": dependencies("anchorhold-verifier"), "unit": "crates"}
    for name, item in results.items():
        ratio = f"  ({item['ratio']:.2f} of {item['peer']})" if item.get("ratio") is not None else ""
        print(f"{name:<60} {item['value']:>14,.2f} {item['unit']}{ratio}")
    if len(sys.argv) > 3 and sys.argv[3]:
        pathlib.Path(sys.argv[3]).write_text(json.dumps(results, indent=1) + "\n")


main()
