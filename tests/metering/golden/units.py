"""Vectors of kinds of tokens and other units: caches, media, seconds, thoughts."""

from __future__ import annotations

from metering.usage import Usage
from tests.metering.golden.vector import HOUR, IN, OUT, READ, WRITE, C, T, Vector, tokens

FLASH = {IN: "0.0000003", READ: "0.00000003", OUT: "0.0000025"}
UNITS = {
    1: Vector(C + "gemini 2.5 implicit caching", FLASH, tokens(15_033, 17, read=14_316), "0.00068708"),
    20: Vector(
        T + "cache writes of both lives, as a zero total",
        {IN: "0.000003", WRITE: "0.00000375", HOUR: "0.000006", OUT: "0.000015"},
        tokens(300, write=100, hour=200),
        "0.001575",
    ),
    21: Vector(
        C + "azure ai claude",
        {IN: "0.000005", READ: "0.0000005", WRITE: "0.00000625", OUT: "0.000025"},
        tokens(1_000, 100, read=800, write=100),
        "0.004025",
    ),
    22: Vector(
        C + "azure gpt-5.6 cache writes",
        {IN: "0.0000002", WRITE: "0.00000025", OUT: "0.0000012"},
        tokens(2_000, 100, write=1_313),
        "0.00058565",
    ),
    23: Vector(
        C + "mai-code-1-flash",
        {IN: "0.00000075", READ: "0.000000075", OUT: "0.0000045"},
        tokens(1_000, 500, read=200),
        "0.002865",
    ),
    26: Vector(
        C + "transcription by tokens",
        {IN: "0.0000025", "input_audio_tokens": "0.0000025", OUT: "0.00001"},
        tokens(14, 45, input_audio_tokens=14),
        "0.000485",
    ),
    27: Vector(
        C + "transcription by seconds",
        {"audio_seconds": "0.0001"},
        Usage(extra=(("audio_seconds", 10),)),
        "0.001",
    ),
    28: Vector(
        C + "vertex chirp 3",
        {"audio_seconds": "0.00026667"},
        Usage(extra=(("audio_seconds", 18),)),
        "0.00480006",
    ),
    29: Vector(
        C + "azure audio output (wrong: 0.00592)",
        {OUT: "0.00001", "output_audio_tokens": "0.00008"},
        tokens(0, 592, output_audio_tokens=482),
        "0.03966",
    ),
    30: Vector(
        T + "image tokens",
        {IN: "0.000001", OUT: "0.000002", "output_image_tokens": "0.000005"},
        tokens(14, 1_720, output_image_tokens=1_120),
        "0.006814",
    ),
    31: Vector(
        T + "video tokens",
        {IN: "0.0000015", OUT: "0.000009", "output_video_tokens": "0.0000175"},
        tokens(20, 46_436, output_video_tokens=46_336),
        "0.81181",
    ),
    32: Vector(
        T + "gemini-2.5-flash, a real answer",
        FLASH,
        tokens(209, 3_996, read=100, reasoning_output_tokens=3_114),
        "0.0100257",
    ),
    35: Vector(
        T + "cache writes backed out of the text",
        {IN: "0.000004", WRITE: "0.000005", OUT: "0.00002"},
        tokens(1_000, write=800),
        "0.0048",
    ),
    40: Vector(
        "litellm #15945, verified by its user",
        {IN: "0.00000125", READ: "0.000000125", OUT: "0.00001"},
        tokens(9_126, 3_197, read=4_864),
        "0.0379055",
    ),
    43: Vector(
        "litellm #33772",
        {IN: "0.000004", WRITE: "0.000005", OUT: "0.00002"},
        tokens(12_317, 5, write=12_314),
        "0.061682",
    ),
}
