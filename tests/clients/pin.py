#!/usr/bin/env python3
"""Pins what pip would install, with hashes: one of the files in pins/.

usage: pip install --dry-run --ignore-installed --report report.json PACKAGE ... && pin.py report.json PACKAGE ... > pins/NAME.txt

Run it with the Python of Debian 12 on x86-64: the hashes are of the wheels that it takes.
"""
import json
import sys

report, *asked = sys.argv[1:]
installed = json.load(open(report))["install"]
print(f"# {' '.join(asked)}: pinned by tests/clients/pin.py for Python 3.11 on x86-64.")
for package in sorted(installed, key=lambda package: package["metadata"]["name"].lower()):
    name, version = package["metadata"]["name"], package["metadata"]["version"]
    digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
    print(f"{name}=={version} --hash=sha256:{digest}")
