"""A connection of HTTP/2 whose frames a script writes one by one."""
import os
import socket
import ssl
from urllib.parse import urlsplit

from checks import URL
from hpack import Decoder, Encoder
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

ADDRESS = urlsplit(URL)
SECONDS = 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TRUST = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
TRUST.set_alpn_protocols(["h2"])
# A send may find that the server has gone.
GONE = (ConnectionResetError, BrokenPipeError, ssl.SSLError)


def raw(kind, flags, stream, body):
    """A frame that no library would write."""
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


class Connection:
    """A connection whose settings both sides have said."""

    def __init__(self, settings=None, preface=PREFACE):
        line = socket.create_connection((ADDRESS.hostname, ADDRESS.port), timeout=SECONDS)
        self.line = TRUST.wrap_socket(line, server_hostname="localhost")
        self.encoder, self.decoder = Encoder(), Decoder()
        self.send(preface, SettingsFrame(0, settings=settings or {}))
        self.settings = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.line.close()

    def send(self, *frames):
        self.line.sendall(b"".join(frame if isinstance(frame, bytes) else frame.serialize() for frame in frames))

    def headers(self, stream, fields, *flags):
        return HeadersFrame(stream, self.encoder.encode(fields), flags=["END_HEADERS", *flags])

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.line.recv(count - len(data))
            if not more:
                return None
            data += more
        return data

    def frames(self):
        """What the server sends until it closes."""
        while True:
            try:
                head = self.exactly(9)
                if head is None:
                    return
                frame, length = Frame.parse_frame_header(memoryview(head))
                body = self.exactly(length)
                if body is None:
                    return
            except GONE:
                return
            frame.parse_body(memoryview(body))
            if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
                self.settings = frame.settings
            if isinstance(frame, HeadersFrame):
                frame.fields = dict(self.decoder.decode(frame.data))
            yield frame

    def first(self, *kinds, stream=None):
        for frame in self.frames():
            if isinstance(frame, kinds) and (stream is None or frame.stream_id == stream):
                return frame
        return None

    def pinged(self):
        """Whether it still answers."""
        self.send(PingFrame(0, b"question"))
        for frame in self.frames():
            if isinstance(frame, GoAwayFrame):
                return False
            if isinstance(frame, PingFrame) and "ACK" in frame.flags and frame.opaque_data == b"question":
                return True
        return False

    def widen(self, window):
        try:
            self.send(WindowUpdateFrame(0, window))
        except GONE:
            # It may close once it has sent everything.
            pass

    def answer(self, stream):
        """Status and body of the answer on this stream."""
        status, body = None, b""
        for frame in self.frames():
            if frame.stream_id != stream:
                continue
            if isinstance(frame, RstStreamFrame):
                return ("reset", frame.error_code)
            if isinstance(frame, HeadersFrame) and status is None:
                status = frame.fields[":status"]
            if isinstance(frame, DataFrame):
                body += frame.data
                if frame.flow_controlled_length:
                    self.widen(frame.flow_controlled_length)
            if "END_STREAM" in frame.flags:
                return (status, body)
        return None
