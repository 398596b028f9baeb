#!/usr/bin/env python3
"""Tool calls and responses with OpenAI's own Python client, 2.x and 3.x, against a running server.

What the model says does not matter, so a tiny one will do: calls that must come are kept to their schemas.
"""
import functools
import json

import openai
from checks import BASE, CHAT, KEY, check, run

WEATHER = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Köln"]}, "days": {"type": "integer", "minimum": 1, "maximum": 3}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
FUNCTION = {"name": "weather", "description": "w", "parameters": WEATHER}
CHAT_TOOLS = [{"type": "function", "function": FUNCTION}]
TOOLS = [{"type": "function", **FUNCTION, "strict": True}]


def check_arguments(text):
    arguments = json.loads(text)
    check(set(arguments) == {"city", "days"} and arguments["city"] in ("Oslo", "Köln") and 1 <= arguments["days"] <= 3, text)


def chat_whole(client, model):
    messages = [{"role": "user", "content": "Weather?"}]
    for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
        made = client.chat.completions.create(model=model, messages=messages, tools=CHAT_TOOLS, tool_choice=choice, parallel_tool_calls=False, seed=1)
        answer = made.choices[0]
        check(answer.finish_reason == "tool_calls" and answer.message.content is None, answer)
        check(len(answer.message.tool_calls) == 1, answer)
        call = answer.message.tool_calls[0]
        check(call.type == "function" and call.function.name == "weather" and call.id.startswith("call_"), call)
        check_arguments(call.function.arguments)
    # The conversation goes on with the client's own objects.
    messages += [answer.message, {"role": "tool", "tool_call_id": call.id, "content": "7 degrees"}]
    made = client.chat.completions.create(model=model, messages=messages, tools=CHAT_TOOLS, tool_choice="none", max_tokens=8)
    check(made.choices[0].message.tool_calls is None and made.usage.prompt_tokens > 0, made)
    made = client.chat.completions.create(model=model, messages=messages[:1], tools=CHAT_TOOLS, max_tokens=8, temperature=0)
    check(made.choices[0].finish_reason in ("length", "stop", "tool_calls"), made)


def chat_streamed(client, model):
    messages = [{"role": "user", "content": "Weather?"}]
    asked = dict(model=model, messages=messages, tools=CHAT_TOOLS, tool_choice="required", parallel_tool_calls=False, seed=1)
    whole = client.chat.completions.create(**asked).choices[0].message.tool_calls[0].function
    with client.chat.completions.stream(**asked) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion().choices[0]
    check("tool_calls.function.arguments.delta" in kinds and kinds.count("tool_calls.function.arguments.done") == 1, kinds)
    check(final.finish_reason == "tool_calls" and len(final.message.tool_calls) == 1, final)
    told = final.message.tool_calls[0].function
    check((told.name, told.arguments) == (whole.name, whole.arguments), (told, whole))
    deltas = [chunk.choices[0].delta.tool_calls[0] for chunk in client.chat.completions.create(**asked, stream=True) if chunk.choices and chunk.choices[0].delta.tool_calls]
    check(deltas[0].id and deltas[0].index == 0 and deltas[0].function.name == "weather" and deltas[0].function.arguments == "", deltas[0])
    check(all(delta.id is None and delta.function.name is None for delta in deltas[1:]), deltas)
    check("".join(delta.function.arguments for delta in deltas) == whole.arguments, deltas)


def responses_whole(client, model):
    made = client.responses.create(model=model, input="What is Anchorhold?", instructions="Be brief.", max_output_tokens=64, temperature=0, store=True)
    check(made.object == "response" and made.status in ("completed", "incomplete") and made.store is False, made)
    check(made.output[0].type == "message" and made.output_text == made.output[0].content[0].text, made)
    check(made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens, made.usage)
    cut = client.responses.create(model=model, input="What is Anchorhold?", max_output_tokens=1)
    check(cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens", cut)
    asked = dict(model=model, tools=TOOLS, tool_choice="required", parallel_tool_calls=False)
    made = client.responses.create(input="Weather?", **asked)
    call = made.output[-1]
    check(call.type == "function_call" and call.name == "weather", made)
    check_arguments(call.arguments)
    # The output goes back as input, as the documentation shows.
    answered = [{"role": "user", "content": "Weather?"}, *made.output, {"type": "function_call_output", "call_id": call.call_id, "output": "7"}]
    made = client.responses.create(model=model, input=answered, tools=TOOLS, tool_choice="none", max_output_tokens=8)
    check(made.output[0].type == "message", made)
    form = {"format": {"type": "json_schema", "name": "w", "schema": WEATHER, "strict": True}}
    made = client.responses.create(model=model, input="Weather?", text=form, include=["message.output_text.logprobs"], top_logprobs=2)
    check_arguments(made.output_text)
    told = made.output[0].content[0].logprobs
    check(b"".join(bytes(token.bytes) for token in told).decode() == made.output_text and len(told[0].top_logprobs) == 2, told)


def responses_streamed(client, model):
    with client.responses.stream(model=model, input="What is Anchorhold?", max_output_tokens=64, temperature=0) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    check(kinds[:4] == ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"], kinds)
    check(kinds[-1] in ("response.completed", "response.incomplete"), kinds)
    check([event.sequence_number for event in events] == list(range(len(events))), "sequence numbers")
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    check(text == final.output_text and text, (text, final))
    whole = client.responses.create(model=model, input="What is Anchorhold?", max_output_tokens=64, temperature=0)
    check(whole.output_text == text, "streamed equals unstreamed")
    events = list(client.responses.create(model=model, input="Weather?", tools=TOOLS, tool_choice={"type": "function", "name": "weather"}, stream=True))
    kinds = [event.type for event in events]
    check("response.function_call_arguments.delta" in kinds and kinds[-1] == "response.completed", kinds)
    ended = next(event for event in events if event.type == "response.function_call_arguments.done")
    check_arguments(ended.arguments)
    check(events[-1].response.output[0].arguments == ended.arguments, events[-1])


def refusals(client, model):
    def refused(kind, param, call, **asked):
        try:
            call(**asked)
        except kind as error:
            check(error.body["param"] == param, error.body)
        else:
            raise AssertionError(param)

    chat = dict(model=model, messages=[{"role": "user", "content": "x"}])
    refused(openai.BadRequestError, "tool_choice", client.chat.completions.create, tool_choice="required", **chat)
    refused(openai.BadRequestError, "functions", client.chat.completions.create, functions=[{"name": "f"}], **chat)
    refused(openai.BadRequestError, "previous_response_id", client.responses.create, model=model, input="x", previous_response_id="resp_1")
    refused(openai.BadRequestError, "tools[0].type", client.responses.create, model=model, input="x", tools=[{"type": "web_search"}])
    refused(openai.NotFoundError, "response_id", client.responses.retrieve, response_id="resp_1")


client = openai.OpenAI(base_url=BASE, api_key=KEY, max_retries=0)
parts = [functools.update_wrapper(functools.partial(part, client, CHAT), part) for part in (chat_whole, chat_streamed, responses_whole, responses_streamed, refusals)]
run(f"openai-python {openai.__version__}, tools and responses", *parts)
