#!/usr/bin/env python3
"""schemathesis asks what the server's own description of itself allows, and what it does not; seed and number of examples are fixed.

No answer may be a 5xx, and each must have a status, a content type, headers and a body that the description gives.
"""
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from checks import KEY, URL, check, run

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"


def described():
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "report.json")
        command = [Path(sys.executable).parent / "schemathesis", "run", f"{URL}/openapi.json", "--tls-verify", os.environ["SSL_CERT_FILE"]]
        command += ["--header", f"authorization: Bearer {KEY}", "--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--no-color", "--no-shrink"]
        command += ["--seed", "1", "--max-examples", os.environ.get("EXAMPLES", "20"), "--generation-database", "none"]
        command += ["--workers", "1", "--request-timeout", "60", "--report-json-path", told]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        check(ended.returncode == 0, ended.stdout[-20000:] + ended.stderr)
        check(json.loads(told.read_text(encoding="utf-8"))["complete"], "not every operation was tried")


run(f"schemathesis {version('schemathesis')}", described)
