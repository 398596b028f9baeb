"""Transports for httpx that send nothing before the server's evidence was accepted.

    import httpx, openai, anchorhold.httpx

    transport = anchorhold.httpx.AttestedTransport(url, accepted={"measurements": [measurement]})
    client = openai.OpenAI(base_url=url + "/v1", api_key=key, http_client=httpx.Client(transport=transport))

The transport opens its own connections, in Rust: Python's ``ssl`` shows no exported secrets, so it could not judge whether a
connection ends in the guest that made the evidence. Proxies, client certificates and certificate authorities play no part.
A server that is refused raises ``anchorhold.Refused``, whose argument is the outcome as JSON.
"""

import asyncio
import json

import httpx

from . import ConnectionFailed, _native, _time

#: Milliseconds of a connection, of a request up to the head of its answer, and between two pieces of the answer.
DEFAULT_TIMEOUTS_MS = (10_000, 600_000, 120_000)
#: The longest answer that is read, in bytes.
DEFAULT_MAX_BODY_BYTES = 64 * 1024 * 1024

# Set by the connection itself; content-type is always that of JSON.
_OWN_HEADERS = frozenset([b"host", b"connection", b"content-length", b"content-type", b"transfer-encoding", b"accept-encoding"])


class _Connector:
    """What both transports share."""

    def __init__(self, url, *, accepted, endorsements=None, at=None, timeouts_ms=DEFAULT_TIMEOUTS_MS,
                 max_body_bytes=DEFAULT_MAX_BODY_BYTES):
        self._origin = httpx.URL(url)
        self._at = at
        self._client = _native.Client(
            f"https://{self._origin.netloc.decode('ascii')}", json.dumps(accepted), endorsements, timeouts_ms, max_body_bytes
        )

    def attest(self):
        """Asks the server for a document and judges it, without any request; the outcome as a dictionary."""
        return json.loads(self._client.attest(_time(self._at)))

    def _send(self, request, body):
        if request.url.scheme != "https" or request.url.netloc != self._origin.netloc:
            # What was attested is one server. A redirect or a mistyped address is another.
            raise httpx.UnsupportedProtocol("the transport talks to the attested server only", request=request)
        kind = request.headers.get("content-type")
        if body and (kind is None or kind.split(";")[0].strip().lower() != "application/json"):
            raise httpx.UnsupportedProtocol("the transport sends bodies of JSON only", request=request)
        headers = [(name.lower(), value) for name, value in request.headers.raw if name.lower() not in _OWN_HEADERS]
        target = (request.method, request.url.raw_path.decode("ascii"))
        try:
            return self._client.request(target, headers, body, _time(self._at))
        except ConnectionFailed as error:
            raise httpx.ConnectError(str(error), request=request) from error


def _next_piece(answer, request):
    try:
        return answer.next_piece()
    except ConnectionFailed as error:
        raise httpx.ReadError(str(error), request=request) from error


class _Stream(httpx.SyncByteStream):
    def __init__(self, answer, request):
        self._answer = answer
        self._request = request

    def __iter__(self):
        while (piece := _next_piece(self._answer, self._request)) is not None:
            yield piece

    def close(self):
        self._answer.close()


class _AsyncStream(httpx.AsyncByteStream):
    def __init__(self, answer, request):
        self._answer = answer
        self._request = request

    async def __aiter__(self):
        while (piece := await asyncio.to_thread(_next_piece, self._answer, self._request)) is not None:
            yield piece

    async def aclose(self):
        self._answer.close()


class AttestedTransport(_Connector, httpx.BaseTransport):
    """For ``httpx.Client``."""

    def handle_request(self, request):
        answer = self._send(request, request.read())
        return httpx.Response(answer.status, headers=answer.headers, stream=_Stream(answer, request), request=request)


class AsyncAttestedTransport(_Connector, httpx.AsyncBaseTransport):
    """For ``httpx.AsyncClient``."""

    async def handle_async_request(self, request):
        body = await request.aread()
        answer = await asyncio.to_thread(self._send, request, body)
        return httpx.Response(answer.status, headers=answer.headers, stream=_AsyncStream(answer, request), request=request)
