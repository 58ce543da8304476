"""How a model counts beside a published tokenizer, learnt from answers whose usage was reported. Pure.

Most tokenizers are not published. What such a model makes of a text is estimated: a count by a tokenizer that
is, times a factor. The factor of a model's family is rough; answers that report usage tell the model's own:
what was reported, divided by what was counted. It is an average in which later observations weigh more than
earlier ones, and longer texts more than short ones, up to a bound. Each observation is first brought into
LEAST_PPM to MOST_PPM: no report, however wrong, can bring the factor out of that. All figures are whole
numbers, factors in millionths.

What a model thinks is billed and often not shown, or only as a summary. How long it thinks says no factor:
that is an average of its own, of the tokens that were billed beyond the text which came.

Estimates say what something is likely to have cost. The ceilings of hard limits never rest on them.
"""

from __future__ import annotations

from typing import Literal

Direction = Literal["input", "output"]

PPM = 1_000_000
LEAST_PPM, MOST_PPM = 500_000, 3_000_000
"""Beyond what tokenizers in use differ by, in any language."""
OBSERVED_MIN = 5
"""So many observations before a factor is used."""
COUNTED_MIN = 16
"""A shorter text says more of what stands around it than of the tokenizer."""
WEIGHT_MAX = 512
"""What a text counts at most, in its tokens: one very long text, or one wrong report, is not the average."""
MEMORY = 16 * WEIGHT_MAX
"""The tokens that an average rests on: what was seen before them is forgotten."""
ANSWERS = 16
"""The answers that the average of thoughts rests on."""
MODELS_MAX = 256
FIRST = 20
"""So many answers of a model are looked at, and then one of EACH: counting takes time."""
EACH = 64


class Factor:
    """The average of one model in one direction."""

    __slots__ = ("observed", "ppm", "weight")

    def __init__(self) -> None:
        self.ppm = PPM
        self.weight = 0
        self.observed = 0

    def observe(self, counted: int, reported: int) -> None:
        """So many tokens were counted, so many reported. What tells nothing is passed over."""
        if counted < COUNTED_MIN or reported <= 0:
            return
        told = min(max(reported * PPM // counted, LEAST_PPM), MOST_PPM)
        weight = min(counted, WEIGHT_MAX)
        self.ppm = (self.ppm * self.weight + told * weight) // (self.weight + weight)
        self.weight = min(self.weight + weight, MEMORY)
        self.observed += 1

    @property
    def known(self) -> bool:
        """Whether it may be used."""
        return self.observed >= OBSERVED_MIN


class Beyond:
    """How many tokens an answer of one model has on average beyond its text."""

    __slots__ = ("_ppm", "observed")

    def __init__(self) -> None:
        self._ppm = 0
        self.observed = 0

    def observe(self, tokens: int) -> None:
        """So many were billed beyond the text."""
        weight = min(self.observed, ANSWERS - 1)
        self._ppm = (self._ppm * weight + tokens * PPM) // (weight + 1)
        self.observed += 1

    @property
    def tokens(self) -> int:
        """The average, 0 while it is not known."""
        return (self._ppm + PPM // 2) // PPM if self.observed >= OBSERVED_MIN else 0


class ModelFactors:
    """What is known of one model. `learns`: its tokenizer is not published."""

    __slots__ = ("_looked", "_passed", "beyond", "input", "learns", "output")

    def __init__(self, *, learns: bool) -> None:
        self.learns = learns
        self.input = Factor()
        self.output = Factor()
        self.beyond = Beyond()
        self._passed = 0
        self._looked = 0

    def due(self) -> bool:
        """Whether this answer is one of those that are looked at. Asked for each answer."""
        if not self.learns:
            return False
        self._passed += 1
        return self._looked < FIRST or self._passed % EACH == 0

    def looked(self) -> None:
        """One that was due is looked at."""
        self._looked += 1

    def observe_output(self, counted: int, reported: int, thoughts: int) -> None:
        """An answer whose text was counted, and whose output was reported, with so many thoughts among it.

        Thoughts that are shown are in both; so what is beyond the text is what the factor leaves over.
        """
        if not thoughts:
            self.output.observe(counted, reported)
            self.beyond.observe(0)
        elif (ppm := self.ppm("output")) is not None:
            self.beyond.observe(min(max(0, reported - estimated(counted, ppm)), thoughts))

    def ppm(self, direction: Direction) -> int | None:
        """The factor in use; the other direction's where only that is known: the tokenizer is the same."""
        own, other = (self.input, self.output) if direction == "input" else (self.output, self.input)
        return own.ppm if own.known else other.ppm if other.known else None


class Calibration:
    """The factors of all models, by provider and model; of the least recently observed none where they are
    more than MODELS_MAX."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], ModelFactors] = {}

    def __len__(self) -> int:
        return len(self._models)

    def find(self, provider: str, model: str) -> ModelFactors | None:
        """What is known of a model; None of one that has not been seen."""
        return self._models.get((provider, model))

    def begin(self, provider: str, model: str, *, learns: bool) -> ModelFactors:
        """A model that has not been seen."""
        if len(self._models) >= MODELS_MAX:
            del self._models[next(iter(self._models))]
        found = self._models[provider, model] = ModelFactors(learns=learns)
        return found

    def observed(self, provider: str, model: str) -> None:
        """It stays when others must go."""
        key = (provider, model)
        if key in self._models:
            self._models[key] = self._models.pop(key)


def estimated(counted: int, ppm: int) -> int:
    """Tokens to expect, rounded up."""
    return -(-counted * ppm // PPM)
