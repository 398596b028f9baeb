"""Attested connections, against a software guest."""

import asyncio
import json

import httpx
import openai
import pytest
from conftest import accepted

import anchorhold
from anchorhold.httpx import AsyncAttestedTransport, AttestedTransport

MESSAGES = [{"role": "user", "content": "čau, 👩‍🚀 wörld, again"}]


def failed(refused):
    outcome = json.loads(refused.value.args[0])
    return {check["code"] for check in outcome["checks"] if check["outcome"] == "failed"}


def client(said, **changes):
    transport = AttestedTransport(said["url"], accepted=accepted(said, **changes))
    return openai.OpenAI(
        base_url=said["url"] + "/v1", api_key="test", max_retries=0, http_client=httpx.Client(transport=transport)
    )


def test_openai_asks_an_attested_server(guest):
    with client(guest) as openai_client:
        assert [model.id for model in openai_client.models.list()] == ["echo"]
        answer = openai_client.chat.completions.create(model="echo", messages=MESSAGES)
        assert answer.choices[0].message.content == MESSAGES[0]["content"]


def test_openai_streams_from_an_attested_server(guest):
    with client(guest) as openai_client:
        stream = openai_client.chat.completions.create(model="echo", messages=MESSAGES, stream=True)
        words = [chunk.choices[0].delta.content for chunk in stream]
    assert len(words) == 4 and "".join(words) == MESSAGES[0]["content"]


def test_a_stream_is_left_early(guest):
    with client(guest) as openai_client:
        with openai_client.chat.completions.create(model="echo", messages=MESSAGES, stream=True) as stream:
            assert next(iter(stream)).choices[0].delta.content == "čau, "
        assert openai_client.chat.completions.create(model="echo", messages=MESSAGES).id == "chatcmpl-1"


def test_async_openai_asks_and_streams(guest):
    async def talk():
        transport = AsyncAttestedTransport(guest["url"], accepted=accepted(guest))
        async with openai.AsyncOpenAI(
            base_url=guest["url"] + "/v1", api_key="test", http_client=httpx.AsyncClient(transport=transport)
        ) as openai_client:
            asked = [openai_client.chat.completions.create(model="echo", messages=MESSAGES) for _ in range(8)]
            texts = {answer.choices[0].message.content for answer in await asyncio.gather(*asked)}
            stream = await openai_client.chat.completions.create(model="echo", messages=MESSAGES, stream=True)
            return texts, [chunk.choices[0].delta.content async for chunk in stream]

    texts, words = asyncio.run(talk())
    assert texts == {MESSAGES[0]["content"]} and "".join(words) == MESSAGES[0]["content"]


def test_attest_gives_the_outcome(guest):
    outcome = AttestedTransport(guest["url"], accepted=accepted(guest)).attest()
    assert (outcome["verdict"], outcome["simulated"], outcome["measurement"]) == ("accepted", True, guest["measurement"])


def test_case_04_refuses_a_relay_before_any_request(relay):
    with client(relay) as openai_client, pytest.raises(Exception) as refused:
        openai_client.chat.completions.create(model="echo", messages=MESSAGES)
    cause = refused.value
    while not isinstance(cause, anchorhold.Refused):
        cause = cause.__cause__
        assert cause is not None, repr(refused.value)
    with pytest.raises(anchorhold.Refused) as refused:
        AttestedTransport(relay["url"], accepted=accepted(relay)).attest()
    assert "tls_key_bound" in failed(refused)


def test_refuses_another_measurement_and_the_simulated_root_unless_named(guest):
    with pytest.raises(anchorhold.Refused) as refused:
        AttestedTransport(guest["url"], accepted=accepted(guest, measurements=["00" * 48])).attest()
    assert failed(refused) == {"snp_measurement"}
    with pytest.raises(anchorhold.Refused) as refused:
        AttestedTransport(guest["url"], accepted={"measurements": [guest["measurement"]]}).attest()
    assert any("anchor" in code for code in failed(refused))


def test_talks_to_the_attested_server_only_and_sends_json_only(guest):
    with httpx.Client(transport=AttestedTransport(guest["url"], accepted=accepted(guest))) as http:
        for url in ["https://localhost:1/", guest["url"].replace("https", "http"), "https://example.org/"]:
            with pytest.raises(httpx.UnsupportedProtocol):
                http.get(url)
        with pytest.raises(httpx.UnsupportedProtocol):
            http.post(guest["url"] + "/v1/chat/completions", data={"a": "b"})
        with pytest.raises(ValueError):
            http.put(guest["url"] + "/v1/models", json={})
        assert http.get(guest["url"] + "/v1/models").status_code == 200
        assert http.post(guest["url"] + "/v1/chat/completions", json={}).status_code == 401


def test_refuses_a_policy_that_says_nothing_or_is_misspelt(guest):
    for wrong in [{}, {"measurement": [guest["measurement"]]}, {"measurements": ["zz"]}]:
        with pytest.raises(ValueError):
            AttestedTransport(guest["url"], accepted=wrong).attest()


def test_no_connection_is_an_error_of_httpx():
    transport = AttestedTransport("https://127.0.0.1:1", accepted={"measurements": ["00" * 48]})
    with httpx.Client(transport=transport) as http, pytest.raises(httpx.ConnectError):
        http.get("https://127.0.0.1:1/")
