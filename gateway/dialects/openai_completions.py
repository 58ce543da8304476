"""OpenAI's text completions format (`/v1/completions`): requests. Answers are read as chat answers are.

https://platform.openai.com/docs/api-reference/completions. One request may hold many prompts, and each prompt
may have many answers: `n` that are returned, out of `best_of` that are made and paid for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar
from unicodedata import normalize

from gateway.dialects.exchange import (
    MAXIMUM_TOKENS,
    Exchange,
    TokenExchange,
    is_token,
    read_bool,
    read_count,
    read_model,
    read_stream_options,
    type_name,
    wrong_type,
)
from gateway.errors import BadRequest

CHOICES_MAX = 128
PROMPTS_MAX = 2_048
BYTES_A_TOKEN = 4
"""Of English text; for estimates only."""


@dataclass(slots=True)
class Completion(TokenExchange):
    """One text completions request.

    `choices` counts all answers that are made, for all prompts; `shown` those that are returned; `echoes` how
    often the prompts stand in them again; `repeated_bytes` the suffix, which comes again with every prompt.
    """

    prompt_fields: ClassVar[tuple[str, ...]] = ("prompt", "suffix")
    usual_maximum: ClassVar[int | None] = 16
    only_maximum_field: ClassVar[str | None] = "max_tokens"

    shown: int = 1
    echoes: int = 0

    def likely_input(self, counted: int) -> int:
        """The suffix is read with every prompt, and was counted once."""
        return self.counted_prompt(counted) + self.repeated_bytes // BYTES_A_TOKEN

    def likely_output(self, counted: int, prompt: int, chunks: int = 0) -> int:
        """The prompts that are echoed were not made; the answers that lost against the best ones were."""
        if not self.echoes:
            counted = Exchange.likely_output(self, counted, prompt, chunks)
        made = max(0, counted - self.echoes * prompt)
        return made * self.choices // self.shown


def read_call(body: dict[str, Any]) -> Completion:
    """Understand one text completions request; BadRequest names the field that is wrong."""
    call = Completion("completions", body, read_model(body))
    call.stream = read_bool(body, "stream")
    shown = read_count(body, "n", most=CHOICES_MAX) or 1
    made = read_count(body, "best_of", most=CHOICES_MAX) or 1
    # A maximum of 0 with `echo` asks for the probabilities of the prompt itself.
    call.maximum = read_count(body, "max_tokens", most=MAXIMUM_TOKENS, least=0)
    call.maximum_field = None if call.maximum is None else "max_tokens"
    prompts = _read_prompt(body.get("prompt"), call)
    call.messages = prompts
    call.shown = prompts * shown
    call.choices = prompts * max(shown, made)
    if read_bool(body, "echo"):
        call.echoes = shown
    suffix = body.get("suffix")
    if suffix is not None:
        if not isinstance(suffix, str):
            raise wrong_type("suffix", suffix, "a string")
        call.repeated_bytes = (prompts - 1) * _bytes_at_most(suffix)
    read_stream_options(body, call)
    return call


def _bytes_at_most(text: str) -> int:
    """Bytes of a text, as it is or as a tokenizer may normalise it."""
    as_it_is = len(text.encode())
    return as_it_is if text.isascii() else max(as_it_is, len(normalize("NFKC", text).encode()))


def _read_prompt(prompt: Any, call: Completion) -> int:
    """How many prompts there are: a text, texts, token numbers, or lists of token numbers. None is one."""
    if prompt is None or isinstance(prompt, str):
        return 1
    if not isinstance(prompt, list):
        raise wrong_type("prompt", prompt, "a string or an array")
    if not prompt:
        raise BadRequest("Invalid 'prompt': empty array.", param="prompt", code="empty_array")
    if all(map(is_token, prompt)):
        call.given_tokens = len(prompt)
        return 1
    if len(prompt) > PROMPTS_MAX:
        raise BadRequest(
            f"Invalid 'prompt': expected at most {PROMPTS_MAX} prompts, but got {len(prompt)}.",
            param="prompt",
            code="invalid_value",
        )
    for number, each in enumerate(prompt):
        if isinstance(each, list) and all(map(is_token, each)):
            call.given_tokens += len(each)
        elif not isinstance(each, str):
            raise BadRequest(
                f"Invalid type for 'prompt[{number}]': expected a string or an array of integers, "
                f"but got {type_name(each)} instead.",
                param=f"prompt[{number}]",
                code="invalid_type",
            )
    return len(prompt)
