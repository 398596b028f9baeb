"""Writes the figures of the guest's image as a part of the benchmarks.

usage: guest_figures.py IMAGE_DIR BOOT_JSON DEMO_JSON OUT_JSON
"""

import json
import pathlib
import sys


def main():
    image, boot, demo, out = map(pathlib.Path, sys.argv[1:])
    bytes_of = {name: (image / name).stat().st_size for name in ("kernel", "initrd", "root")}
    figures = [{"name": f"image, {name}", "value": value, "unit": "bytes"} for name, value in bytes_of.items()]
    figures.append({"name": "image, whole", "value": sum(bytes_of.values()), "unit": "bytes"})
    told = json.loads(boot.read_text())
    for stage, value in told["ms"].items():
        figures.append({"name": f"guest in QEMU ({told['accelerator']}), start to {stage}", "value": value, "unit": "ms"})
    alone = json.loads(demo.read_text())
    rate, bare = told["sentences_per_s"], alone["sentences_per_s"]
    where = f"sentences embedded in the guest in QEMU ({told['accelerator']})"
    figures.append({"name": where, "value": rate, "unit": "sentences/s", "peer": "the same programs on this machine", "ratio": rate / bare})
    # The same user space on this machine, without a kernel to start.
    for stage in alone["stages"]:
        if stage["stage"] == "ready":
            figures.append({"name": "user space alone, start to ready (two models)", "value": stage["ms"], "unit": "ms"})
    out.write_text(json.dumps(figures, indent=1) + "\n")


main()
