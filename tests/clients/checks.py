"""What every script of a client in Python uses: where the server is, checks that count, and a line for each part.

CLIENT_ACCESS names the file that `anchorhold-demo --access` wrote; SSL_CERT_FILE the server's certificate.
"""
import json
import os
import unicodedata

with open(os.environ["CLIENT_ACCESS"], encoding="utf-8") as file:
    ACCESS = json.load(file)
URL = ACCESS["url"]
BASE = f"{URL}/v1"
KEY = ACCESS["key"]
CHAT = ACCESS["chat_model"]
EMBEDDING = ACCESS["embedding_model"]
QUESTION = [{"role": "user", "content": "What is Anchorhold?"}]
# Of four bytes, joined with U+200D, of a regional pair, with combining marks that would compose and some that would not.
TEXTS = ["\N{ANCHOR}\ufe0f\U0001f600", "\U0001f469\u200d\U0001f692", "\U0001f1f3\U0001f1f4", "e\u0301o\u0308", "z\u0335\u0321", "\u0e01\u0e33\u05e9\u05c1"]
assert any(unicodedata.normalize("NFC", text) != text for text in TEXTS)
done = 0


def check(condition, told):
    """Counts one check, or ends the script with what was told."""
    global done
    if not condition:
        raise AssertionError(told)
    done += 1


def run(name, *parts):
    """Runs the parts, each told by its name, and ends with the line that clients.sh counts."""
    for part in parts:
        before = done
        part()
        print(f"ok {name}: {part.__name__.replace('_', ' ')} ({done - before})", flush=True)
    print(f"{name}: {done} checks", flush=True)
