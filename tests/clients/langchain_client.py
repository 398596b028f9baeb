#!/usr/bin/env python3
"""langchain-openai: chat, streams, tools, structured output, embeddings and its errors."""
from importlib.metadata import version

import openai
from checks import BASE, CHAT, EMBEDDING, KEY, TEXTS, check, run
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

QUESTION = [SystemMessage("Be brief."), HumanMessage("What is Anchorhold?")]
WEATHER = {
    "title": "weather",
    "description": "the weather of a city",
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Köln"]}},
    "required": ["city"],
    "additionalProperties": False,
}


def model(**asked):
    return ChatOpenAI(**{"base_url": BASE, "api_key": KEY, "model": CHAT, "temperature": 0, "max_tokens": 48, "max_retries": 0, **asked})


def chat():
    made = model().invoke(QUESTION)
    check(made.text and made.response_metadata["finish_reason"] in ("stop", "length"), made)
    check(made.usage_metadata["total_tokens"] == made.usage_metadata["input_tokens"] + made.usage_metadata["output_tokens"], made)
    whole = None
    for chunk in model(stream_usage=True).stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    check(whole.text == made.text, (whole, made))
    check(whole.usage_metadata["total_tokens"] == made.usage_metadata["total_tokens"], whole)
    check(model(logprobs=True, top_logprobs=2).invoke(QUESTION).response_metadata["logprobs"]["content"], "logprobs")
    check([one.text for one in model().batch([QUESTION] * 4)] == [made.text] * 4, "a batch")


def tools():
    asked = model(max_tokens=200).bind_tools([WEATHER], tool_choice="weather")
    made = asked.invoke(QUESTION)
    check(made.tool_calls[0]["name"] == "weather" and made.tool_calls[0]["args"]["city"] in ("Oslo", "Köln"), made)
    whole = None
    for chunk in asked.stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    check([call["args"] for call in whole.tool_calls] == [call["args"] for call in made.tool_calls], whole)
    answered = [*QUESTION, made, ToolMessage("7 degrees", tool_call_id=made.tool_calls[0]["id"])]
    check(isinstance(model().invoke(answered), AIMessage), "the conversation goes on")


def structured():
    for method in ("json_schema", "function_calling"):
        made = model(max_tokens=200).with_structured_output(WEATHER, method=method, strict=True).invoke(QUESTION)
        check(made["city"] in ("Oslo", "Köln"), (method, made))
    for text in TEXTS:
        schema = {**WEATHER, "title": "told", "properties": {"told": {"enum": [text]}}, "required": ["told"]}
        made = model(max_tokens=200).with_structured_output(schema, method="json_schema", strict=True).invoke(QUESTION)
        check(made == {"told": text}, ascii(made))


def responses():
    made = model(use_responses_api=True).invoke(QUESTION)
    check(made.text, made)
    check("".join(chunk.text for chunk in model(use_responses_api=True).stream(QUESTION)) == made.text, made)


def completions():
    asked = OpenAI(base_url=BASE, api_key=KEY, model=CHAT, temperature=0, max_tokens=8, max_retries=0)
    made = asked.invoke("Anchorhold is")
    check(made and "".join(asked.stream("Anchorhold is")) == made, made)


def embeddings():
    # It would count tokens with a tokenizer of OpenAI's, fetched from the network; a server with its own is told of in its documentation.
    asked = OpenAIEmbeddings(base_url=BASE, api_key=KEY, model=EMBEDDING, check_embedding_ctx_length=False, max_retries=0)
    made = asked.embed_documents(["A doctor", TEXTS[0]])
    check(len(made) == 2 and len(made[0]) == 384 and made[0] != made[1], len(made))
    check(asked.embed_query("A doctor") == asked.embed_query("A doctor"), "the same again")


def refusals():
    for kind, asked in ((openai.AuthenticationError, {"api_key": "ak-wrong"}), (openai.NotFoundError, {"model": "gpt-4o"}), (openai.BadRequestError, {"temperature": 3})):
        for ask in (lambda chosen: chosen.invoke(QUESTION), lambda chosen: list(chosen.stream(QUESTION))):
            try:
                ask(model(**asked))
            except kind as error:
                check(error.body["param"] in (None, *asked), error.body)
            else:
                raise AssertionError(asked)


run(f"langchain-openai {version('langchain-openai')}", chat, tools, structured, responses, completions, embeddings, refusals)
