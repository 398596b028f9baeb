#!/usr/bin/env python3
"""Headless Chromium opens the status page: what it says, that nothing else is loaded, and that its policy holds against a page with more in it.

BROWSER names another program than Debian's; SCREENSHOT a file to keep the picture of the page in.
"""
import base64
import hashlib
import html
import http.server
import json
import os
import re
import shutil
import ssl
import struct
import subprocess
import tempfile
import threading
import urllib.request
from pathlib import Path

from checks import CHAT, EMBEDDING, URL, check, run

BROWSER = os.environ.get("BROWSER") or shutil.which("chromium-headless-shell") or shutil.which("chromium")
WIDE, NARROW = (1100, 1500), (390, 1500)
# SEV-SNP ABI, table "ATTESTATION_REPORT": MEASUREMENT.
MEASUREMENT = slice(0x90, 0xC0)
CERTIFICATE = Path(os.environ["SSL_CERT_FILE"]).read_text(encoding="ascii")


def spki_digest():
    """As --ignore-certificate-errors-spki-list takes it."""
    key = subprocess.run(["openssl", "x509", "-noout", "-pubkey"], input=CERTIFICATE, capture_output=True, text=True, check=True).stdout
    der = base64.b64decode("".join(line for line in key.splitlines() if not line.startswith("-----")))
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


def browse(url, size=WIDE, picture=None):
    """The page as the browser has it in the end, what its console says, and every address that it asked for."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "net.json")
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        command += ["--hide-scrollbars", f"--window-size={size[0]},{size[1]}", f"--user-data-dir={folder}/profile", f"--log-net-log={log}"]
        command += ["--enable-logging=stderr", "--v=0", "--timeout=30000", f"--ignore-certificate-errors-spki-list={spki_digest()}"]
        command.append(f"--screenshot={picture}" if picture else "--dump-dom")
        ended = subprocess.run([*command, url], capture_output=True, text=True, timeout=120)
        check(ended.returncode == 0, ended.stderr)
        asked = set(re.findall(r'"url":"([^"]+)"', log.read_text(encoding="utf-8", errors="replace")))
    console = "\n".join(line for line in ended.stderr.splitlines() if "CONSOLE" in line)
    return ended.stdout, console, {url for url in asked if url.startswith(("http", "ws", "ftp"))}


def text_of(page):
    return html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"<style>.*?</style>", "", page, flags=re.S)))


def fetched(path):
    with urllib.request.urlopen(URL + path, context=ssl.create_default_context()) as answer:
        return answer.headers, answer.read()


def measurement():
    document = json.loads(fetched("/.well-known/anchorhold-attestation?nonce=" + "5a" * 32)[1])
    return base64.b64decode(document["evidence"]["report"])[MEASUREMENT].hex()


def what_the_page_says():
    page, console, asked = browse(URL + "/")
    text = text_of(page)
    for wanted in [measurement(), CHAT, EMBEDDING, "Simulated", "anchorhold verify", "Audit log"]:
        check(wanted in text, (wanted, text))
    check(console == "", console)
    # The browser asks for an icon by itself, of the same server.
    check(asked <= {URL + "/", URL + "/favicon.ico"}, asked)
    check(not re.search(r"<script|<iframe|<img|<link|\son\w+=", page), "nothing to run and nothing to load")


class Grafted(http.server.BaseHTTPRequestHandler):
    """The page with its own headers, and what an attacker would add."""

    asked = []

    def do_GET(self):
        Grafted.asked.append(self.path)
        if self.path != "/":
            self.send_error(404)
            return
        headers, page = fetched("/")
        page = page.replace(
            b"</body>",
            b"<script>document.title = 'ran'</script><script src='/more.js'></script><img src='/more.png' onerror='document.title = 1'>"
            b"<iframe src='/more.html'></iframe><p id='styled' style='color: red'></p><link rel='stylesheet' href='/more.css'></body>",
        )
        self.send_response(200)
        for name in ["content-type", "content-security-policy"]:
            self.send_header(name, headers[name])
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


def its_policy_holds():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Grafted)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page, console, _ = browse(f"http://127.0.0.1:{server.server_port}/")
    finally:
        server.shutdown()
    check("<title>Anchorhold" in page and "more.js" in page, "the graft is in the page")
    check(set(Grafted.asked) <= {"/", "/favicon.ico"}, Grafted.asked)
    for directive in ["script-src", "img-src", "style-src", "frame-src"]:
        check(directive in console, (directive, console))


def how_it_looks():
    with tempfile.TemporaryDirectory() as folder:
        for name, size in (("wide", WIDE), ("narrow", NARROW)):
            picture = Path(folder, f"{name}.png")
            browse(URL + "/", size, picture)
            data = picture.read_bytes()
            check(data[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", data[16:24]) == size, "a picture of that size")
            # One colour all over packs to next to nothing.
            check(len(data) > 20_000, len(data))
            if "SCREENSHOT" in os.environ:
                kept = Path(os.environ["SCREENSHOT"])
                shutil.copy(picture, kept.with_stem(f"{kept.stem}-{name}"))


check(BROWSER, "no chromium-headless-shell and no chromium")
run("browser", what_the_page_says, its_policy_holds, how_it_looks)
