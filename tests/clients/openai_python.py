#!/usr/bin/env python3
"""Chat, completions, embeddings and models with OpenAI's own Python client, 2.x and 3.x.

What the model says does not matter where it is not fixed by a seed or a schema.
"""
import asyncio
import base64
import json
import math
import struct

import openai
from checks import ACCESS, BASE, CHAT, EMBEDDING, KEY, QUESTION, TEXTS, check, run

client = openai.OpenAI(base_url=BASE, api_key=KEY, max_retries=0)
GREEDY = {"model": CHAT, "messages": QUESTION, "temperature": 0, "max_tokens": 48}


def schema_of(texts):
    shape = {"type": "object", "properties": {"told": {"enum": texts}}, "required": ["told"], "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "told", "strict": True, "schema": shape}}


def streamed(**asked):
    """The text, the finish reason, the usage and the chunks of a streamed chat."""
    chunks = list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **asked))
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    text = "".join(choice.delta.content or "" for choice in choices)
    return text, choices[-1].finish_reason, chunks[-1].usage, chunks


def models():
    listed = {model.id: model for model in client.models.list()}
    check(set(listed) == {CHAT, EMBEDDING}, listed)
    for name, model in listed.items():
        check(client.models.retrieve(name) == model and model.object == "model" and model.created > 0, model)
        check(model.max_model_len > 0, model)


def chat():
    made = client.chat.completions.create(**GREEDY)
    check(made.object == "chat.completion" and made.model == CHAT and made.id.startswith("chatcmpl-"), made)
    answer = made.choices[0]
    check(answer.message.role == "assistant" and answer.message.content and answer.message.refusal is None, answer)
    check(answer.finish_reason in ("stop", "length") and answer.logprobs is None and answer.index == 0, answer)
    check(made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens, made.usage)
    check(0 < made.usage.completion_tokens <= 48, made.usage)
    # Content as parts is the same question, and a field that is null is absent.
    parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]}]
    again = client.chat.completions.create(**{**GREEDY, "messages": parts}, stop=None, seed=None, logit_bias=None, user="somebody")
    check(again.choices[0].message.content == answer.message.content, again)
    cut = client.chat.completions.create(model=CHAT, messages=QUESTION, max_completion_tokens=2)
    check(cut.choices[0].finish_reason == "length" and cut.usage.completion_tokens == 2, cut)
    raw = client.chat.completions.with_raw_response.create(**GREEDY, extra_headers={"x-request-id": "asked-by-me"})
    check(raw.headers["x-request-id"] == "asked-by-me" and int(raw.headers["openai-processing-ms"]) >= 0, raw.headers)


def chat_streamed():
    whole = client.chat.completions.create(**GREEDY)
    text, finish, usage, chunks = streamed(**GREEDY)
    check(text == whole.choices[0].message.content and finish == whole.choices[0].finish_reason, (text, whole))
    check((usage.prompt_tokens, usage.completion_tokens) == (whole.usage.prompt_tokens, whole.usage.completion_tokens), usage)
    check(chunks[0].choices[0].delta.role == "assistant" and chunks[-1].choices == [], (chunks[0], chunks[-1]))
    check(all(chunk.usage is None for chunk in chunks[:-1]) and len({chunk.id for chunk in chunks}) == 1, "usage last, one id")
    check(sum(1 for chunk in chunks if chunk.choices and chunk.choices[0].delta.content) > 1, "more than one piece")
    plain = list(client.chat.completions.create(stream=True, **GREEDY))
    check(all(chunk.choices and chunk.usage is None for chunk in plain), plain[-1])
    # One who leaves early leaves a server that answers the next.
    with client.chat.completions.create(stream=True, **GREEDY) as left:
        next(iter(left))
    check(streamed(**GREEDY)[0] == text, "after one who left")


def sampling():
    hot = {**GREEDY, "temperature": 1.5, "max_tokens": 24}
    for seed in (0, 7, 2**63 - 1):
        texts = {client.chat.completions.create(seed=seed, **hot).choices[0].message.content for _ in range(2)}
        texts.add(streamed(seed=seed, **hot)[0])
        check(len(texts) == 1, texts)
    made = client.chat.completions.create(n=3, seed=1, **hot)
    check([choice.index for choice in made.choices] == [0, 1, 2], made)
    # The demonstration's model is sure of its answers; it is not of what follows arbitrary tokens.
    unsure = client.completions.create(model=CHAT, prompt=[90, 300, 41], n=3, seed=1, temperature=2)
    check(len({choice.text for choice in unsure.choices}) == 3, unsure)
    pieces = ["", "", ""]
    for chunk in client.chat.completions.create(n=3, seed=1, stream=True, **hot):
        for choice in chunk.choices:
            pieces[choice.index] += choice.delta.content or ""
    check(pieces == [choice.message.content for choice in made.choices], pieces)
    text = client.chat.completions.create(**GREEDY).choices[0].message.content
    for stop in (text[5:8], [text[9:12], "\u2603"]):
        kept = text[: text.index(stop if isinstance(stop, str) else stop[0])]
        made = client.chat.completions.create(stop=stop, **GREEDY).choices[0]
        check(made.message.content == kept and made.finish_reason == "stop", (stop, made))
        check(streamed(stop=stop, **GREEDY)[:2] == (kept, "stop"), stop)
    forced = [client.completions.create(model=CHAT, prompt=prompt, max_tokens=1, logit_bias={"140": 100}).choices[0].text for prompt in ([5, 6, 7], [90, 300])]
    check(forced[0] == forced[1] != "", forced)


def logprobs():
    made = client.chat.completions.create(logprobs=True, top_logprobs=3, **GREEDY)
    told = made.choices[0].logprobs.content
    check(len(told) >= made.usage.completion_tokens - 1, len(told))
    check(b"".join(bytes(token.bytes) for token in told).decode() == made.choices[0].message.content, told)
    check(all(token.logprob <= 0 and len(token.top_logprobs) == 3 for token in told), told)
    check(all(token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob for token in told), told)
    chunks = streamed(logprobs=True, top_logprobs=3, **GREEDY)[3]
    flown = [token for chunk in chunks if chunk.choices and chunk.choices[0].logprobs for token in chunk.choices[0].logprobs.content]
    check([token.model_dump() for token in flown] == [token.model_dump() for token in told], "streamed equals unstreamed")
    old = client.completions.create(model=CHAT, prompt="Anchorhold", max_tokens=4, temperature=0, logprobs=2).choices[0].logprobs
    check(len(old.tokens) == len(old.token_logprobs) == len(old.top_logprobs) == len(old.text_offset) == 4, old)


def texts_byte_for_byte():
    for text in TEXTS:
        asked = dict(model=CHAT, messages=[{"role": "user", "content": text}], response_format=schema_of([text]), max_tokens=200)
        whole = client.chat.completions.create(**asked).choices[0].message.content
        check(json.loads(whole) == {"told": text}, ascii(whole))
        check(streamed(**asked)[0] == whole, "streamed equals unstreamed")


def schemas():
    texts = ["north", "south"]
    made = client.chat.completions.create(response_format=schema_of(texts), **GREEDY).choices[0]
    check(json.loads(made.message.content)["told"] in texts and made.finish_reason == "stop", made)
    made = client.chat.completions.create(response_format=schema_of(texts), **{**GREEDY, "max_tokens": 3}).choices[0]
    check(made.finish_reason == "length", made)
    made = client.chat.completions.create(response_format={"type": "json_object"}, **{**GREEDY, "max_tokens": 200}).choices[0]
    check(made.finish_reason == "length" or isinstance(json.loads(made.message.content), dict), made)


def completions():
    made = client.completions.create(model=CHAT, prompt=["Anchorhold", "A guest"], n=2, seed=3, max_tokens=5)
    check([choice.index for choice in made.choices] == [0, 1, 2, 3] and made.object == "text_completion", made)
    made = client.completions.create(model=CHAT, prompt="Anchorhold", temperature=0)
    check(made.usage.completion_tokens <= 16, made)
    chunks = list(client.completions.create(model=CHAT, prompt="Anchorhold", temperature=0, stream=True))
    check("".join(chunk.choices[0].text for chunk in chunks) == made.choices[0].text, chunks)


def echo():
    try:
        client.completions.create(model=CHAT, prompt="x", echo=True, max_tokens=1)
    except openai.BadRequestError as error:
        check(error.code == "unsupported_parameter" and error.param == "echo", error.body)
        print("skipped: echo, which this server does not offer")
        return
    for text in TEXTS:
        echoed = client.completions.create(model=CHAT, prompt=text, max_tokens=0, echo=True).choices[0].text
        check(echoed == text, (ascii(text), ascii(echoed)))
    made = client.completions.create(model=CHAT, prompt="Anchorhold", temperature=0)
    same = client.completions.create(model=CHAT, prompt="Anchorhold", temperature=0, echo=True)
    check(same.choices[0].text == "Anchorhold" + made.choices[0].text, same)


def embeddings():
    texts = ["A doctor", "The stock market", TEXTS[0]]
    made = client.embeddings.create(model=EMBEDDING, input=texts, encoding_format="float")
    check([vector.index for vector in made.data] == [0, 1, 2] and made.usage.prompt_tokens > 0, made.usage)
    check(all(abs(math.hypot(*vector.embedding) - 1) < 1e-3 for vector in made.data), "length 1")
    # JSON has the shortest decimals that are this f32.
    bits = [struct.pack(f"<{len(vector.embedding)}f", *vector.embedding) for vector in made.data]
    # Without a format the client asks for base64 and decodes it itself.
    unpacked = client.embeddings.create(model=EMBEDDING, input=texts).data
    check([struct.pack(f"<{len(vector.embedding)}f", *vector.embedding) for vector in unpacked] == bits, "base64")
    raw = client.embeddings.with_raw_response.create(model=EMBEDDING, input=texts[0], encoding_format="base64")
    packed = base64.b64decode(json.loads(raw.text if isinstance(raw.text, str) else raw.text())["data"][0]["embedding"], validate=True)
    check(packed == bits[0], "the same bits")


def refusals():
    def refused(kind, status, param, code, call, **asked):
        try:
            call(**asked)
        except kind as error:
            body = error.body
            check(error.status_code == status and set(body) == {"message", "type", "param", "code"}, body)
            check(body["param"] == param and (code is None or body["code"] == code) and error.request_id, body)
        else:
            raise AssertionError((kind, asked))

    ask = client.chat.completions.create
    stranger = client.with_options(api_key="ak-wrong")
    refused(openai.AuthenticationError, 401, None, "invalid_api_key", stranger.chat.completions.create, **GREEDY)
    refused(openai.AuthenticationError, 401, None, "invalid_api_key", stranger.models.list)
    refused(openai.NotFoundError, 404, "model", "model_not_found", ask, **{**GREEDY, "model": "gpt-4o"})
    refused(openai.NotFoundError, 404, "model", "model_not_found", client.models.retrieve, model="gpt-4o")
    refused(openai.BadRequestError, 400, "model", None, ask, **{**GREEDY, "model": EMBEDDING})
    refused(openai.BadRequestError, 400, "model", None, client.embeddings.create, model=CHAT, input="x")
    for field, value in (("temperature", 3), ("top_p", 2), ("n", 0), ("max_tokens", -1), ("top_logprobs", 100), ("logit_bias", {"1": 200})):
        refused(openai.BadRequestError, 400, field, None, ask, **{**GREEDY, field: value})
    refused(openai.BadRequestError, 400, "messages", None, ask, **{**GREEDY, "messages": []})
    refused(openai.BadRequestError, 400, "messages[0].role", None, ask, **{**GREEDY, "messages": [{"role": "wizard", "content": "x"}]})
    refused(openai.BadRequestError, 400, "stream_options", None, ask, **GREEDY, stream_options={"include_usage": True})
    refused(openai.BadRequestError, 400, "input", None, client.embeddings.create, model=EMBEDDING, input="")
    refused(openai.BadRequestError, 400, "messages", "context_length_exceeded", ask, **{**GREEDY, "messages": [{"role": "user", "content": "anchor " * 5000}]})
    # The same before a stream has begun: a status and JSON, not an event.
    refused(openai.BadRequestError, 400, "temperature", None, ask, stream=True, **{**GREEDY, "temperature": 3})


def many_at_once():
    async def ask():
        async with openai.AsyncOpenAI(base_url=BASE, api_key=KEY, max_retries=0) as many:
            return await asyncio.gather(*(many.chat.completions.create(seed=5, **{**GREEDY, "temperature": 1}) for _ in range(16)))

    texts = {made.choices[0].message.content for made in asyncio.run(ask())}
    check(len(texts) == 1, texts)
    other = openai.OpenAI(base_url=BASE, api_key=ACCESS["other_key"], max_retries=0)
    check(other.chat.completions.create(**GREEDY).choices[0].message.content == client.chat.completions.create(**GREEDY).choices[0].message.content, "tenants")


run(
    f"openai-python {openai.__version__}", models, chat, chat_streamed, sampling, logprobs, texts_byte_for_byte, schemas, completions, echo, embeddings, refusals, many_at_once
)
