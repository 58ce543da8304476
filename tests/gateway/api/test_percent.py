"""What is called percent is percent, in answers and in what is said of them; parts of 1 are called shares."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter

from gateway.api.figures import percent, share
from gateway.api.table import TOLD


def test_every_field_is_described_as_what_it_is() -> None:
    answers = {model for each in TOLD for model in (each.answer, *each.more.values()) if model}
    percents, shares = set(), set()
    for model in answers:
        schema = TypeAdapter(model).json_schema(mode="serialization")
        for place in (schema, *schema.get("$defs", {}).values()):
            for name, field in place.get("properties", {}).items():
                told = str(_whole(field, schema.get("$defs", {}))).lower()
                if name.endswith(("_pct", "Pct")):
                    assert "percent" in told, (model, name, told)
                    assert "0.625" not in told, (model, name, told)
                    percents.add(name)
                if name.endswith(("_share", "Share")) or name in ("share", "success_rate"):
                    assert "percent" not in told, (model, name, told)
                    shares.add(name)
    assert {"margin_pct", "margin_before_pct", "margin_after_pct"} <= percents
    assert {"wasted_share", "estimated_share", "share"} <= shares


def test_both_of_one_part() -> None:
    assert (percent(5, 8), share(5, 8)) == (Decimal("62.5000"), Decimal("0.6250"))
    assert (percent(-5, 2), share(1, 0)) == (Decimal("-250.0000"), None)


def _whole(field: Any, definitions: dict[str, Any]) -> list[Any]:
    """The field's schema with what it refers to."""
    refers = [field, *field.get("anyOf", [])]
    names = [each["$ref"].rpartition("/")[2] for each in refers if "$ref" in each]
    return [field, *(definitions[name] for name in names)]
