#!/usr/bin/env python3
"""Errors of HTTP/2, frame by frame: what RFC 9113 asks of a server for each, and that it answers the next caller afterwards.

h2spec is not in any registry that this project builds from, so the cases are here; the sections are of RFC 9113.
"""
import subprocess

from checks import CHAT, KEY, URL, check, run
from frames import GONE, Connection, raw
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PROTOCOL, FLOW_CONTROL, STREAM_CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION, CALM = 1, 3, 5, 6, 7, 8, 9, 11
# The library below us (h2) ends the connection as it must for a frame that it cannot read, and always says PROTOCOL_ERROR, also where the
# RFC names a closer code.
UNREADABLE = PROTOCOL
HEALTH = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/health")]
ASK = [
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/v1/chat/completions"),
    ("authorization", f"Bearer {KEY}"),
    ("content-type", "application/json"),
]
BODY = f'{{"model":"{CHAT}","messages":[{{"role":"user","content":"What is Anchorhold?"}}],"max_tokens":8}}'.encode()
STREAM = BODY[:-1] + b',"stream":true}'


def alive():
    with Connection() as fresh:
        fresh.send(fresh.headers(1, HEALTH, "END_STREAM"))
        check(fresh.answer(1)[0] == "200", "the next caller is answered")


def ends(name, *codes, frames, settings=None):
    """The connection ends with GOAWAY and one of these codes."""
    with Connection(settings) as held:
        try:
            held.send(*frames(held))
        except GONE:
            pass
        told = held.first(GoAwayFrame)
        check(told is not None and told.error_code in codes, (name, told))
    alive()


def resets(name, *codes, frames, stream=1):
    """The stream ends with one of these codes (section 5.4.2 lets it be the connection), or with a status of 4xx where `400` is among them."""
    with Connection() as held:
        held.send(*frames(held))
        for told in held.frames():
            if isinstance(told, (RstStreamFrame, GoAwayFrame)):
                check(told.error_code in codes, (name, told))
                break
            if isinstance(told, HeadersFrame):
                check(400 in codes and told.fields[":status"].startswith("4"), (name, told.fields))
                break
        else:
            raise AssertionError((name, "closed without a word"))
    alive()


def connection_and_settings():
    with Connection() as held:
        acknowledged = next(frame for frame in held.frames() if isinstance(frame, SettingsFrame) and "ACK" in frame.flags)
        check(acknowledged.settings == {} and held.settings is not None, "settings acknowledged (6.5.3)")
        check(0 < held.settings.get(SettingsFrame.MAX_CONCURRENT_STREAMS, 0) <= 1000, held.settings)
        check(0 < held.settings.get(SettingsFrame.MAX_HEADER_LIST_SIZE, 0) <= 1 << 20, held.settings)
        check(held.pinged(), "ping (6.7)")
        held.send(raw(0xFA, 0xFF, 0, b"unknown"), raw(0xFA, 0, 7, b""), raw(4, 0, 0, b"\x00\xfa\x00\x00\x00\x01"))
        check(held.pinged(), "unknown frames and settings are ignored (4.1, 6.5.2)")
        held.send(PriorityFrame(9, depends_on=0, stream_weight=3))
        check(held.pinged(), "priority is ignored (5.3.2)")
    with Connection(preface=b"GET / HTTP/1.1\r\nhost: x\r\n\r\n") as held:
        told = held.first(GoAwayFrame)
        check(told is None or told.error_code == PROTOCOL, ("not the preface (3.4)", told))
    alive()
    ends("settings on a stream (6.5)", PROTOCOL, frames=lambda _: [raw(4, 0, 1, b"")])
    ends("settings of 5 bytes (6.5)", FRAME_SIZE, UNREADABLE, frames=lambda _: [raw(4, 0, 0, bytes(5))])
    ends("acknowledgement with a payload (6.5)", FRAME_SIZE, UNREADABLE, frames=lambda _: [raw(4, 1, 0, bytes(6))])
    ends("push enabled with 2 (6.5.2)", PROTOCOL, frames=lambda _: [raw(4, 0, 0, b"\0\2\0\0\0\2")])
    ends("window of 2^31 (6.5.2)", FLOW_CONTROL, UNREADABLE, frames=lambda _: [raw(4, 0, 0, b"\0\4\x80\0\0\0")])
    ends("frames of 1 byte (6.5.2)", PROTOCOL, frames=lambda _: [raw(4, 0, 0, b"\0\5\0\0\0\1")])
    ends("frames of 2^24 bytes (6.5.2)", PROTOCOL, frames=lambda _: [raw(4, 0, 0, b"\0\5\1\0\0\0")])
    ends("ping of 7 bytes (6.7)", FRAME_SIZE, UNREADABLE, frames=lambda _: [raw(6, 0, 0, bytes(7))])
    ends("ping on a stream (6.7)", PROTOCOL, frames=lambda _: [raw(6, 0, 1, bytes(8))])
    ends("goaway on a stream (6.8)", PROTOCOL, frames=lambda _: [raw(7, 0, 1, bytes(8))])
    ends("a push from a client (8.4)", PROTOCOL, frames=lambda held: [PushPromiseFrame(1, 2, held.encoder.encode(HEALTH), flags=["END_HEADERS"])])
    ends("a frame beyond the size it allows (4.2)", FRAME_SIZE, frames=lambda held: [held.headers(1, ASK), raw(0, 0, 1, bytes(1 << 20))])


def streams():
    whole = lambda held: held.headers(1, HEALTH, "END_STREAM")
    ends("data on stream 0 (6.1)", PROTOCOL, frames=lambda _: [raw(0, 0, 0, b"x")])
    ends("headers on stream 0 (6.2)", PROTOCOL, frames=lambda held: [raw(1, 5, 0, held.encoder.encode(HEALTH))])
    ends("reset on stream 0 (6.4)", PROTOCOL, frames=lambda _: [raw(3, 0, 0, bytes(4))])
    ends("data on an idle stream (5.1)", PROTOCOL, frames=lambda _: [DataFrame(1, b"x")])
    ends("reset of an idle stream (5.1)", PROTOCOL, frames=lambda _: [RstStreamFrame(1, CANCEL)])
    ends("window of an idle stream (5.1)", PROTOCOL, frames=lambda _: [WindowUpdateFrame(1, 5)])
    ends("an even stream (5.1.1)", PROTOCOL, frames=lambda held: [held.headers(2, HEALTH, "END_STREAM")])
    ends("an older stream (5.1.1)", PROTOCOL, STREAM_CLOSED, frames=lambda held: [held.headers(5, HEALTH, "END_STREAM"), held.headers(3, HEALTH, "END_STREAM")])
    ends("a continuation of nothing (6.10)", PROTOCOL, frames=lambda _: [raw(9, 4, 1, b"")])
    open_block = lambda held: HeadersFrame(1, held.encoder.encode(HEALTH), flags=["END_STREAM"])
    ends("another frame within a block (6.10)", PROTOCOL, frames=lambda held: [open_block(held), PingFrame(0, bytes(8))])
    ends("a continuation of another stream (6.10)", PROTOCOL, frames=lambda held: [open_block(held), ContinuationFrame(3, b"", flags=["END_HEADERS"])])
    ends("padding beyond the frame (6.1)", PROTOCOL, frames=lambda held: [held.headers(1, ASK), raw(0, 8, 1, b"\xff" + bytes(8))])
    ends("reset of 3 bytes (6.4)", FRAME_SIZE, UNREADABLE, frames=lambda held: [held.headers(1, ASK), raw(3, 0, 1, bytes(3))])
    ends("window of 3 bytes (6.9)", FRAME_SIZE, UNREADABLE, frames=lambda _: [raw(8, 0, 0, bytes(3))])
    ends("window of 0 (6.9)", PROTOCOL, frames=lambda _: [raw(8, 0, 0, bytes(4))])
    ends("window beyond 2^31 - 1 (6.9.1)", FLOW_CONTROL, frames=lambda _: [WindowUpdateFrame(0, 2**31 - 1)])
    ends("a block that HPACK cannot read (4.3)", COMPRESSION, UNREADABLE, frames=lambda _: [raw(1, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff")])
    ends("data after the end (5.1)", STREAM_CLOSED, PROTOCOL, frames=lambda held: [held.headers(1, ASK), DataFrame(1, STREAM, flags=["END_STREAM"]), DataFrame(1, b"x")])
    resets("window of 0 of a stream (6.9)", PROTOCOL, frames=lambda held: [held.headers(1, ASK), raw(8, 0, 1, bytes(4))])
    resets("window of a stream beyond 2^31 - 1 (6.9.1)", FLOW_CONTROL, frames=lambda held: [held.headers(1, ASK), WindowUpdateFrame(1, 2**31 - 1)])
    resets("priority of 4 bytes (6.3)", FRAME_SIZE, UNREADABLE, frames=lambda held: [held.headers(1, ASK), raw(2, 0, 1, bytes(4))])


def messages():
    def fields(*changed, without=()):
        kept = [field for field in HEALTH if field[0] not in without]
        return lambda held: [held.headers(1, [*kept, *changed], "END_STREAM")]

    for name, frames in (
        ("an upper-case name (8.2)", fields(("X-Loud", "x"))),
        ("connection (8.2.2)", fields(("connection", "keep-alive"))),
        ("transfer-encoding (8.2.2)", fields(("transfer-encoding", "chunked"))),
        ("te that is not trailers (8.2.2)", fields(("te", "gzip"))),
        ("an unknown pseudo-field (8.3)", fields((":wrong", "x"))),
        ("a pseudo-field of answers (8.3)", fields((":status", "200"))),
        ("a pseudo-field after the fields (8.3)", fields(("accept", "*/*"), (":path", "/health"), without=(":path",))),
        ("no method (8.3.1)", fields(without=(":method",))),
        ("no scheme (8.3.1)", fields(without=(":scheme",))),
        ("no path (8.3.1)", fields(without=(":path",))),
        ("an empty path (8.3.1)", fields((":path", ""), without=(":path",))),
        ("two paths (8.3.1)", fields((":path", "/version"))),
        ("a line end in a value (8.2.1)", fields(("x-split", "a\r\nb"))),
        ("more data than said (8.1.1)", lambda held: [held.headers(1, [*ASK, ("content-length", "1")]), DataFrame(1, BODY, flags=["END_STREAM"])]),
        ("less data than said (8.1.1)", lambda held: [held.headers(1, [*ASK, ("content-length", "9999")]), DataFrame(1, BODY, flags=["END_STREAM"])]),
    ):
        resets(name, PROTOCOL, 400, frames=frames)
    with Connection() as held:
        held.send(held.headers(1, ASK), DataFrame(1, BODY), held.headers(1, [("x-trailer", "t")], "END_STREAM"))
        check(held.answer(1)[0] == "200", "trailers are read over (8.1)")
        held.send(held.headers(3, ASK), DataFrame(3, BODY[:9]), DataFrame(3, b"", flags=["PADDED"]), DataFrame(3, BODY[9:], flags=["END_STREAM"]))
        check(held.answer(3)[0] == "200", "a body in pieces, one of them empty")
        block = held.encoder.encode(HEALTH)
        held.send(HeadersFrame(5, block[:3], flags=["END_STREAM"]), ContinuationFrame(5, block[3:], flags=["END_HEADERS"]))
        check(held.answer(5)[0] == "200", "a block in two frames (4.3)")
    resets("trailers with a pseudo-field (8.1)", PROTOCOL, 400, frames=lambda held: [held.headers(1, ASK), DataFrame(1, BODY[:9]), held.headers(1, [(":path", "/")], "END_STREAM")])


def flow():
    with Connection({SettingsFrame.INITIAL_WINDOW_SIZE: 0}) as held:
        held.send(held.headers(1, HEALTH, "END_STREAM"))
        check(held.first(HeadersFrame, stream=1).fields[":status"] == "200", "headers need no window (6.9)")
        check(held.pinged(), "and nothing came after them")
        held.send(WindowUpdateFrame(1, 5))
        check(len(held.first(DataFrame, stream=1).data) == 5, "as much as the window allows")
        held.send(SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 1000}))
        check(held.first(DataFrame, stream=1).data, "a new first window opens those that wait (6.9.2)")
    with Connection() as held:
        for stream in range(1, 33, 2):
            held.send(held.headers(stream, ASK), DataFrame(stream, STREAM, flags=["END_STREAM"]), RstStreamFrame(stream, CANCEL))
        held.send(held.headers(33, ASK), DataFrame(33, BODY, flags=["END_STREAM"]))
        check(held.answer(33)[0] == "200", "16 who left at once leave room for the next")
    with Connection() as held:
        held.send(held.headers(1, ASK), DataFrame(1, STREAM, flags=["END_STREAM"]), GoAwayFrame(0))
        told = held.answer(1)
        check(told[0] == "200" and told[1].rstrip().endswith(b"[DONE]"), "what runs is finished after the caller's goaway (6.8)")


def floods():
    with Connection() as held:
        held.pinged()
        most = held.settings[SettingsFrame.MAX_CONCURRENT_STREAMS]
        # Requests whose bodies do not come, one more than allowed.
        held.send(*(held.headers(1 + 2 * at, ASK) for at in range(most + 1)))
        told = held.first(RstStreamFrame, GoAwayFrame)
        check(isinstance(told, RstStreamFrame) and told.error_code in (REFUSED, PROTOCOL) and told.stream_id == 1 + 2 * most, told)
    alive()

    def flood(name, codes, settings, frames):
        """It ends, with a code or without a word, long before all of it was sent."""
        with Connection(settings) as held:
            sent = 0
            try:
                for part in frames(held):
                    held.send(part)
                    sent += 1
            except GONE:
                pass
            told = held.first(GoAwayFrame)
            check(told is None or told.error_code in codes, (name, told))
            check(told is not None or sent < 20000, (name, "all of it was taken"))
        alive()

    def rapid(held):
        for at in range(20000):
            stream = 1 + 2 * at
            yield held.headers(stream, HEALTH, "END_STREAM").serialize() + RstStreamFrame(stream, CANCEL).serialize()

    def continued(held):
        yield HeadersFrame(1, held.encoder.encode(ASK))
        for _ in range(20000):
            yield ContinuationFrame(1, b"\0\1a\1b" * 200)

    def empty(held):
        yield HeadersFrame(1, held.encoder.encode(ASK))
        for _ in range(20000):
            yield raw(9, 0, 1, b"")

    flood("rapid reset", (CALM, PROTOCOL), None, rapid)
    flood("continuations without an end", (CALM, PROTOCOL, COMPRESSION), None, continued)
    flood("empty continuations without an end", (CALM, PROTOCOL, COMPRESSION), None, empty)
    with Connection() as held:
        # One block within the frame size whose list of fields is beyond what the server says that it takes.
        held.encoder.header_table_size = 4096
        large = [*HEALTH, *(("x-again", "v" * 1000) for _ in range(400))]
        held.send(held.headers(1, large, "END_STREAM"))
        told = held.first(HeadersFrame, RstStreamFrame, GoAwayFrame)
        refused = isinstance(told, HeadersFrame) and told.fields[":status"] == "431"
        check(refused or isinstance(told, (RstStreamFrame, GoAwayFrame)) and told.error_code != 0, told)
    alive()
    for name, frame in (("pings", PingFrame(0, bytes(8))), ("settings", SettingsFrame(0, settings={SettingsFrame.ENABLE_PUSH: 0}))):
        with Connection() as held:
            for _ in range(50):
                held.send(*[frame] * 10)
            check(held.pinged() or name == "settings", name)
        alive()


def h2load():
    told = subprocess.run(["h2load", "-n", "2000", "-c", "10", "-m", "10", f"{URL}/health"], capture_output=True, text=True, check=True, timeout=120).stdout
    counted = next(line for line in told.splitlines() if line.startswith("status codes:"))
    check(counted.startswith("status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx"), counted)
    check("Application protocol: h2" in told, told)


if __name__ == "__main__":
    run("http2", connection_and_settings, streams, messages, flow, floods, h2load)
