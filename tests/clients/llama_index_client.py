#!/usr/bin/env python3
"""llama-index-llms-openai-like: chat, completions, streams, tools and its errors."""
from importlib.metadata import version

import openai
from checks import BASE, CHAT, KEY, check, run
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

QUESTION = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="What is Anchorhold?")]


def model(**asked):
    settled = {"model": CHAT, "api_base": BASE, "api_key": KEY, "is_chat_model": True, "temperature": 0, "max_tokens": 48, "max_retries": 0}
    return OpenAILike(**{**settled, **asked})


def chat():
    made = model().chat(QUESTION)
    check(made.message.content and made.raw.usage.completion_tokens > 0, made)
    pieces = list(model().stream_chat(QUESTION))
    check("".join(piece.delta or "" for piece in pieces) == pieces[-1].message.content == made.message.content, pieces[-1])
    check(model().complete("What is Anchorhold?").text, "a prompt as a chat")


def completions():
    asked = model(is_chat_model=False, max_tokens=8)
    made = asked.complete("Anchorhold is").text
    check(made and list(asked.stream_complete("Anchorhold is"))[-1].text == made, made)


def tools():
    def double(number: int) -> int:
        """Doubles a number."""
        return 2 * number

    asked = model(is_function_calling_model=True, max_tokens=200)
    made = asked.chat_with_tools([FunctionTool.from_defaults(double)], chat_history=QUESTION, tool_required=True)
    calls = asked.get_tool_calls_from_response(made)
    check(calls[0].tool_name == "double" and isinstance(calls[0].tool_kwargs["number"], int), made)


def refusals():
    for kind, asked in ((openai.AuthenticationError, {"api_key": "ak-wrong"}), (openai.NotFoundError, {"model": "gpt-4o"}), (openai.BadRequestError, {"additional_kwargs": {"top_p": 2}})):
        try:
            model(**asked).chat(QUESTION)
        except kind as error:
            check(error.body["param"] in (None, "model", "top_p"), error.body)
        else:
            raise AssertionError(asked)


run(f"llama-index-llms-openai-like {version('llama-index-llms-openai-like')}", chat, completions, tools, refusals)
