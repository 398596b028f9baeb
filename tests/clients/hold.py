#!/usr/bin/env python3
"""Measures what connections and streams cost the gateway in memory, and how it answers four times what it can do.

Idle connections have each asked once; active streams have their first token and take nothing more. The server must admit STREAMS at a
time (ANCHORHOLD_GATEWAY_LIMITS__MAX_IN_FLIGHT and MAX_IN_FLIGHT_PER_TENANT). JSON names a file for the results.
"""
import json
import os
import re
import resource
import subprocess
import tempfile

from checks import ACCESS, KEY, URL, check, run
from frames import Connection
from http2 import ASK, BODY, HEALTH
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame, SettingsFrame

IDLE = 1000
STREAMS = 200
EACH = 10
SECONDS = 10
LONG = BODY.replace(b'"max_tokens":8', b'"max_tokens":400,"ignore_eos":true,"stream":true')
results = []


def result(name, value, unit, **more):
    results.append({"name": name, "value": round(value, 3), "unit": unit, **more})
    print(json.dumps(results[-1]), flush=True)


def resident_kib():
    with open(f"/proc/{ACCESS['gateway_pid']}/status", encoding="ascii") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1))


def healthy(connection):
    connection.send(connection.headers(1, HEALTH, "END_STREAM"))
    check(connection.answer(1)[0] == "200", "health")
    return connection


def hold():
    """Streams that are begun and not read: their window is 0."""
    held = [healthy(Connection()) for _ in range(IDLE - STREAMS // EACH)]
    before = resident_kib()
    waiting = [Connection({SettingsFrame.INITIAL_WINDOW_SIZE: 0}) for _ in range(STREAMS // EACH)]
    for connection in waiting:
        for at in range(EACH):
            connection.send(connection.headers(1 + 2 * at, ASK), DataFrame(1 + 2 * at, LONG, flags=["END_STREAM"]))
    for connection in waiting:
        begun = set()
        for frame in connection.frames():
            if isinstance(frame, (HeadersFrame, RstStreamFrame)):
                check(isinstance(frame, HeadersFrame) and frame.fields[":status"] == "200", frame)
                begun.add(frame.stream_id)
            if len(begun) == EACH:
                break
    after = resident_kib()
    for connection in [*held, *waiting]:
        connection.line.close()
    return before, after


def memory():
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    healthy(Connection()).line.close()
    nothing = resident_kib()
    before, after = hold()
    result("gateway_resident_idle", nothing / 1024, "MiB")
    result("idle_connection_memory", (before - nothing) / (IDLE - STREAMS // EACH), "KiB")
    result("active_stream_memory", (after - before) / STREAMS, "KiB", peer="connections included, 10 streams each")
    # All left at once: as many are admitted again, and what they took is used again.
    again = hold()[1]
    result("gateway_resident_held_again", again / 1024, "MiB", peer="held once", ratio=round(again / after, 3))


def load(callers, requests, rate=None):
    """Milliseconds of each answer by status, and answers in a second, from h2load's log."""
    with tempfile.TemporaryDirectory() as folder:
        body, log = f"{folder}/body", f"{folder}/log"
        with open(body, "wb") as file:
            file.write(BODY)
        command = ["h2load", "-n", str(requests), "-c", str(callers // EACH), "-m", str(EACH), "-d", body, f"--log-file={log}"]
        command += ["-H", f"authorization: Bearer {KEY}", "-H", "content-type: application/json", f"{URL}/v1/chat/completions"]
        if rate:
            command.append(f"--rps={max(1, round(rate / (callers // EACH)))}")
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout
        times = {}
        with open(log, encoding="ascii") as lines:
            for line in lines:
                _, status, micros = line.split()
                times.setdefault(int(status), []).append(int(micros) / 1000)
    check(sum(map(len, times.values())) == requests and set(times) <= {200, 429, 503}, ({status: len(all_) for status, all_ in times.items()}, told))
    return {status: sorted(all_) for status, all_ in times.items()}, float(re.search(r"([\d.]+) req/s", told).group(1))


def quantile(sorted_times, share):
    return sorted_times[min(len(sorted_times) - 1, int(len(sorted_times) * share))]


def overload():
    load(STREAMS, STREAMS * 2)
    full, capacity = load(STREAMS, STREAMS * 10)
    check(set(full) == {200}, "all are admitted at capacity")
    result("capacity", capacity, "requests/s")
    offered = 4 * capacity
    over, answered = load(4 * STREAMS, int(offered * SECONDS), offered)
    refused = sorted(time for status, times in over.items() if status != 200 for time in times)
    check(refused and over[200], "some are refused and some admitted")
    result("overload_answered", answered, "requests/s", peer="offered", ratio=round(answered / offered, 3))
    result("overload_refused", len(refused) / (len(refused) + len(over[200])), "share")
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        result(f"overload_refusal_{name}", quantile(refused, share), "ms")
        at_capacity = quantile(full[200], share)
        result(f"overload_admitted_{name}", quantile(over[200], share), "ms", peer="at capacity", ratio=round(quantile(over[200], share) / at_capacity, 3))


run("hold", memory, overload)
if "JSON" in os.environ:
    with open(os.environ["JSON"], "w", encoding="utf-8") as file:
        json.dump(results, file, indent=2)
