"""The words that the demo's customers send: made-up business prose, drawn from a source of chance. Pure."""

from __future__ import annotations

from random import Random

_WHO = (
    "The warehouse in Rotterdam",
    "A customer from Lyon",
    "The night shift",
    "Our largest supplier",
    "The new invoicing team",
    "Somebody in procurement",
    "The support desk",
    "The second quarter",
)
_DID = (
    "reported fewer returns than in the week before",
    "asked whether the delivery could be split in two",
    "moved forty pallets to the new hall",
    "changed the address on three open orders",
    "sent the corrected figures late on Friday",
    "found that two invoices carry the same number",
    "would like to know what the delay has cost",
    "closed with a small surplus",
)
_THEN = (
    "and nobody had expected it",
    "which the report does not mention yet",
    "so the plan for Monday has to change",
    "although the weather was fine",
    "and the auditors will want to see why",
    "while the price of cardboard keeps rising",
    "as it does every year around this time",
    "and the matter was settled by noon",
)
_QUESTIONS = (
    "What should we tell them, in two sentences?",
    "Could you draft a polite answer?",
    "Which of these matters most, and why?",
    "What would you check first?",
    "Can you put the essentials into a list?",
    "Is there anything unusual in this?",
)
_SEARCHES = (
    "return policy for damaged goods",
    "how do I change the delivery address",
    "bulk discount for returning customers",
    "opening hours on public holidays",
    "certificate of origin for customs",
    "invoice in another currency",
)


def sentence(chance: Random) -> str:
    """One sentence."""
    return f"{chance.choice(_WHO)} {chance.choice(_DID)}, {chance.choice(_THEN)}."


def paragraph(chance: Random, sentences: int) -> str:
    """So many sentences."""
    return " ".join(sentence(chance) for _ in range(sentences))


def question(chance: Random) -> str:
    """What a person asks."""
    return f"{sentence(chance)} {chance.choice(_QUESTIONS)}"


def search_text(chance: Random) -> str:
    """What is looked for, or one of the texts among which it is looked for."""
    return f"{chance.choice(_SEARCHES)}, item {chance.randint(1000, 9999)}"


GUIDE = "House style for summaries. " + " ".join(
    f"Rule {number}: when {who.lower()} {did}, say so plainly, name the figure, and leave out opinions."
    for number, (who, did) in enumerate(((who, did) for who in _WHO for did in _DID), start=1)
)
"""About 1,900 tokens: providers cache prefixes of 1,024 and more."""
