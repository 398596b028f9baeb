#!/usr/bin/env python3
"""litellm: chat, streams, tools, completions, embeddings and its errors, as an OpenAI-compatible server."""
import json
import os
from importlib.metadata import version

# Its table of prices would otherwise be fetched from the network at import.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
from checks import BASE, CHAT, EMBEDDING, KEY, QUESTION, TEXTS, check, run

SERVER = {"api_base": BASE, "api_key": KEY, "num_retries": 0, "max_retries": 0}
GREEDY = {**SERVER, "model": f"openai/{CHAT}", "messages": QUESTION, "temperature": 0, "max_tokens": 48}
PARAMETERS = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Köln"]}}, "required": ["city"], "additionalProperties": False}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
litellm.suppress_debug_info = True


def chat():
    made = litellm.completion(**GREEDY)
    check(made.choices[0].message.content and made.usage.completion_tokens > 0, made)
    chunks = list(litellm.completion(stream=True, stream_options={"include_usage": True}, **GREEDY))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    check(text == made.choices[0].message.content, (text, made))
    rebuilt = litellm.stream_chunk_builder(chunks, messages=QUESTION)
    check(rebuilt.usage.total_tokens == made.usage.total_tokens, rebuilt.usage)
    hot = [litellm.completion(**{**GREEDY, "temperature": 1.2}, seed=9, n=2) for _ in range(2)]
    check([c.message.content for c in hot[0].choices] == [c.message.content for c in hot[1].choices], hot)
    told = litellm.completion(logprobs=True, top_logprobs=2, **GREEDY).choices[0].logprobs
    check(told["content"] if isinstance(told, dict) else told.content, told)


def tools():
    made = litellm.completion(tools=[WEATHER], tool_choice="required", **{**GREEDY, "max_tokens": 200}).choices[0]
    check(made.finish_reason == "tool_calls" and json.loads(made.message.tool_calls[0].function.arguments)["city"] in ("Oslo", "Köln"), made)


def texts_byte_for_byte():
    for text in TEXTS:
        schema = {**PARAMETERS, "properties": {"told": {"enum": [text]}}, "required": ["told"]}
        form = {"type": "json_schema", "json_schema": {"name": "told", "strict": True, "schema": schema}}
        made = litellm.completion(response_format=form, **{**GREEDY, "max_tokens": 200}).choices[0].message.content
        check(json.loads(made) == {"told": text}, ascii(made))


def completions():
    asked = {**SERVER, "model": f"text-completion-openai/{CHAT}", "prompt": "Anchorhold is", "temperature": 0, "max_tokens": 8}
    made = litellm.text_completion(**asked).choices[0].text
    pieces = [chunk.choices[0].text or "" for chunk in litellm.text_completion(stream=True, **asked)]
    check(made and "".join(pieces) == made, (made, pieces))


def responses():
    made = litellm.responses(**SERVER, model=f"openai/{CHAT}", input="What is Anchorhold?", temperature=0, max_output_tokens=48)
    check(made.output[0].content[0].text, made)


def embeddings():
    made = litellm.embedding(**SERVER, model=f"openai/{EMBEDDING}", input=["A doctor", TEXTS[0]], encoding_format="float")
    check([len(vector["embedding"]) for vector in made.data] == [384, 384] and made.usage.prompt_tokens > 0, made.usage)


def refusals():
    kinds = (
        (litellm.AuthenticationError, {"api_key": "ak-wrong"}),
        (litellm.NotFoundError, {"model": "openai/gpt-4o"}),
        (litellm.BadRequestError, {"temperature": 3}),
        (litellm.ContextWindowExceededError, {"messages": [{"role": "user", "content": "anchor " * 5000}]}),
    )
    for kind, asked in kinds:
        try:
            litellm.completion(**{**GREEDY, **asked})
        except kind as error:
            check(type(error) is kind, repr(error))
        else:
            raise AssertionError(asked)


run(f"litellm {version('litellm')}", chat, tools, texts_byte_for_byte, completions, responses, embeddings, refusals)
