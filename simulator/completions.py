"""Text completions: what a request to `/v1/completions` asks for, and the whole answer to it.

Every prompt gets `best_of` answers, all of which are paid for, and `n` of which are returned. A prompt may be
a text or token numbers; its tokens are counted once, however many answers it gets.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import orjson

from simulator import tokens
from simulator.chat import read_model
from simulator.chat_events import DONE
from simulator.dialect import Asked, Said, Stream, whole
from simulator.directive import NONE, Directive, wished
from simulator.errors import Refusal, wrong_type
from simulator.events import Event, told
from simulator.models import Model, Rates

USUAL_MAXIMUM = 16
PROMPTS_MAX = 2_048
ANSWERS_MAX = 128
LOGPROBS_MAX = 5
LOGPROB = -0.25


@dataclass(frozen=True, slots=True)
class CompletionCall:
    """One checked request. `prompts` holds each prompt's pieces, one for each of its tokens."""

    model: Model
    prompts: list[list[str]]
    prompt_tokens: int
    n: int
    best_of: int
    maximum: int
    echo: bool
    logprobs: int | None
    stream: bool
    include_usage: bool
    directive: Directive


def read_completion(body: dict[str, Any], *, may_direct: bool) -> CompletionCall:
    """Read a request body. Raises Refusal on what OpenAI would refuse."""
    model = read_model(body, "completion")
    for name in ("stream", "echo"):
        if body.get(name) is not None and not isinstance(body[name], bool):
            raise wrong_type(name, "a boolean", body[name])
    n = _whole(body, "n", 1, ANSWERS_MAX) or 1
    best_of = _whole(body, "best_of", 1, ANSWERS_MAX) or n
    stream = bool(body.get("stream"))
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise wrong_type("stream_options", "an object", options)
    if options and not stream:
        raise Refusal(
            400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )  # fmt: skip
    if best_of < n:
        raise Refusal(400, f"best_of must be at least n, but got {best_of} and {n}.", param="best_of")
    if best_of > n and stream:
        raise Refusal(400, "Streaming is not supported where best_of exceeds n.", param="best_of")
    suffix = body.get("suffix")
    if suffix is not None and not isinstance(suffix, str):
        raise wrong_type("suffix", "a string", suffix)
    prompts, last = _prompts(body.get("prompt"))
    around = tokens.count(suffix) if suffix else 0
    maximum = _whole(body, "max_tokens", 0, model.max_output)
    maximum = USUAL_MAXIMUM if maximum is None else maximum
    for prompt in prompts:
        if len(prompt) + around + maximum > model.context:
            raise Refusal(
                400,
                f"This model's maximum context length is {model.context} tokens, however you requested "
                f"{len(prompt) + around + maximum} tokens ({len(prompt) + around} in your prompt; {maximum} "
                "for the completion). Please reduce your prompt; or completion length.",
                code="context_length_exceeded",
            )
    return CompletionCall(
        model=model,
        prompts=prompts,
        prompt_tokens=sum(map(len, prompts)) + around * len(prompts),
        n=n,
        best_of=best_of,
        maximum=maximum,
        echo=bool(body.get("echo")),
        logprobs=_whole(body, "logprobs", 0, LOGPROBS_MAX),
        stream=stream,
        include_usage=bool(options.get("include_usage")),
        directive=_directive(body, last) if may_direct else NONE,
    )


def _whole(body: dict[str, Any], name: str, least: int, most: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(name, "an integer", value)
    if not least <= value <= most:
        raise Refusal(
            400, f"Invalid '{name}': expected {least} to {most}, but got {value} instead.", param=name
        )
    return value


def _prompts(given: Any) -> tuple[list[list[str]], str]:
    """The pieces of every prompt, and the text of the last one. No prompt is the mark that begins a text."""
    if given is None:
        given = ""
    if isinstance(given, str) or (isinstance(given, list) and given and isinstance(given[0], int)):
        given = [given]
    if not isinstance(given, list):
        raise wrong_type("prompt", "a string or an array", given)
    if not 1 <= len(given) <= PROMPTS_MAX:
        raise Refusal(400, f"Invalid 'prompt': expected 1 to {PROMPTS_MAX} prompts.", param="prompt")
    found: list[list[str]] = []
    last = ""
    for number, each in enumerate(given):
        if isinstance(each, str):
            found.append(tokens.split(each) or [""])
            last = each
        elif isinstance(each, list) and each and all(type(token) is int and token >= 0 for token in each):
            found.append([f" {token}" for token in each])
            last = ""
        else:
            raise Refusal(400, f"'$.prompt[{number}]' is invalid: expected a text or tokens.", param="prompt")
    return found, last


def _directive(body: dict[str, Any], prompt: str) -> Directive:
    metadata = body.get("metadata")
    return wished(prompt, metadata.get("simulate") if isinstance(metadata, dict) else None)


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer. `shown`: what is returned, as (echoed prompt, pieces); `made`: tokens that are paid."""

    id: str
    created: int
    call: CompletionCall
    shown: list[tuple[list[str], list[str]]]
    finish: str
    made: int
    reasoning: int = 0
    hidden: int = 0

    @property
    def rates(self) -> Rates:
        """What the model costs."""
        return self.call.model.tiers["default"]

    @property
    def completion_tokens(self) -> int:
        """Output tokens that are paid for: those of the answers that lost, too."""
        return self.made

    def usage(self) -> dict[str, int]:
        """Usage as OpenAI reports it."""
        given = self.call.prompt_tokens
        return {"prompt_tokens": given, "completion_tokens": self.made, "total_tokens": given + self.made}

    def document(self, *, usage: bool = True) -> bytes:
        """The `text_completion` object."""
        document = self._head()
        document["choices"] = [
            self._choice(index, [*echoed, *pieces], self.finish)
            for index, (echoed, pieces) in enumerate(self.shown)
        ]
        if usage:
            document["usage"] = self.usage()
        return orjson.dumps(document)

    def events(self, wish: Directive, fault: bytes) -> Iterator[Event]:
        """The answer as a stream: the prompts' echo, then all answers side by side, piece by piece."""
        usage = self._event([], self.usage()) if self.call.include_usage else None
        return told(
            self._pieces(),
            sum(len(pieces) for _, pieces in self.shown),
            wish,
            broken=self._event([self._choice(0, [" broken"], None)]),
            closing=[
                (self._event([self._choice(index, [], self.finish)]), 0) for index in range(len(self.shown))
            ],
            usage=usage,
            fault=b"data: " + fault + b"\n\n",
            done=DONE,
        )

    def _pieces(self) -> Iterator[Event]:
        for index, (echoed, _) in enumerate(self.shown):
            if echoed:
                yield self._event([self._choice(index, echoed, None)]), 0
        longest = max(len(pieces) for _, pieces in self.shown)
        for at in range(longest):
            for index, (_, pieces) in enumerate(self.shown):
                if at < len(pieces):
                    yield self._event([self._choice(index, [pieces[at]], None)]), 1

    def _head(self) -> dict[str, Any]:
        name = self.call.model.snapshot
        return {"id": self.id, "object": "text_completion", "created": self.created, "model": name}

    def _event(self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
        document = {**self._head(), "choices": choices}
        if self.call.include_usage:
            document["usage"] = usage
        return b"data: " + orjson.dumps(document) + b"\n\n"

    def _choice(self, index: int, pieces: list[str], finish: str | None) -> dict[str, Any]:
        logprobs = None
        if self.call.logprobs is not None:
            offsets, at = [], 0
            for piece in pieces:
                offsets.append(at)
                at += len(piece)
            logprobs = {
                "tokens": pieces,
                "token_logprobs": [LOGPROB] * len(pieces),
                "top_logprobs": [{piece: LOGPROB} for piece in pieces] if self.call.logprobs else None,
                "text_offset": offsets,
            }
        return {"text": "".join(pieces), "index": index, "logprobs": logprobs, "finish_reason": finish}


def compose(
    call: CompletionCall, wish: Directive, *, answer_id: str, created: int, tokens_wanted: int
) -> Completion:
    """Decide the whole answer to `call`; `tokens_wanted` is the length of each without a directive."""
    wanted = tokens_wanted if wish.tokens is None else wish.tokens
    length = wanted if wish.ignore_max else min(wanted, call.maximum)
    shown = [
        (prompt if call.echo else [], tokens.words(length, crc32("".join(prompt).encode()) + number))
        for prompt in call.prompts
        for number in range(call.n)
    ]
    return Completion(
        id=answer_id,
        created=created,
        call=call,
        shown=shown,
        finish="length" if length < wanted else "stop",
        made=length * call.best_of * len(call.prompts),
    )


def read_completion_call(asked: Asked) -> CompletionCall:
    """Read what was asked."""
    return read_completion(asked.body, may_direct=asked.may_direct)


def say_completion(asked: Asked, call: CompletionCall, wish: Directive) -> Said:
    """The answer, whole or as a stream."""
    answer = compose(
        call,
        wish,
        answer_id=f"cmpl-{asked.request_id[-28:]}",
        created=int(time.time()),
        tokens_wanted=asked.tokens,
    )
    asked.charge.begin(call.model.snapshot, answer.rates, call.prompt_tokens)
    if call.stream:
        return Stream(answer.events(wish, asked.dialect.fault(asked.request_id)), answer)
    return whole(asked, answer, wish)
