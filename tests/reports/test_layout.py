from __future__ import annotations

import csv
import io

from reports.figures import CostReport, cost_report
from reports.layout import columns, csv_text, document, printable, text
from reports.question import Question
from tests.reports.rows import row

QUESTION = Question(("customer", "feature"), 1_793_491_200_000)


def report() -> CostReport:
    return cost_report(
        QUESTION,
        [
            row(
                "acme",
                "chat",
                events=4,
                successes=3,
                failures=1,
                attempts=5,
                cost_nano=1_500_000_000,
                wasted_nano=1_000,
                input_tokens=12_345,
                unpriced=1,
                unknown_nano=2_000_000,
            ),
            row(None, "chat", events=1, successes=1, cost_nano=150_000),
            row("globex", None, events=2, unpriced=2),
        ],
    )


TABLE = """\
customer  feature   cost $    share  requests  success  $ / success  tokens in  cached  tokens out  wasted $                                   not known
--------  -------  -------  -------  --------  -------  -----------  ---------  ------  ----------  --------  -------------------------------------------
acme      chat     1.50000  100.0 %         4   75.0 %    0.5000000     12,345       0           0  0.000001  1 unpriced; up to $0.002 more where bounded
(none)    chat     0.00015    0.0 %         1  100.0 %    0.0001500          0       0           0  0.000000                                           -
globex    (none)   unknown        -         2    0.0 %            -          0       0           0  0.000000                                  2 unpriced
"""  # noqa: E501


def test_table_says_who_what_and_what_is_not_known() -> None:
    lines = text(columns(report())).splitlines()
    assert [line.split() for line in lines[:5]] == [line.split() for line in TABLE.splitlines()]
    assert lines[1] == lines[5]
    assert lines[6].split()[:4] == ["total", "1.50015", "100.0", "%"]
    assert len({len(line) for line in lines}) == 1


def test_table_without_dimensions_is_the_total_alone() -> None:
    lines = text(columns(cost_report(Question((), 0), [row(cost_nano=5)]))).splitlines()
    assert [line.split()[0] for line in lines if not line.startswith("-")] == [
        "cost",
        "0.000000005",
        "0.000000005",
    ]


def test_csv_has_whole_numbers_and_leaves_unknown_fields_empty() -> None:
    records = list(csv.DictReader(io.StringIO(csv_text(report()))))
    assert [(r["customer"], r["feature"], r["cost_nano"], r["cost_usd"]) for r in records] == [
        ("acme", "chat", "1500000000", "1.50"),
        ("", "chat", "150000", "0.00015"),
        ("globex", "", "", ""),
    ]
    assert records[0]["unpriced_requests"] == "1"


def test_document_gives_money_as_decimal_text_and_null_for_the_unknown() -> None:
    made = document(report())
    assert made["by"] == ["customer", "feature"]
    assert (made["since"], made["until"]) == ("2026-11-01T00:00:00Z", None)
    assert made["rows"][2]["cost_usd"] is None
    assert made["rows"][2]["share"] is None
    assert (made["total"]["cost_usd"], made["total"]["cost_nano"]) == ("1.50015", "1500150000")
    assert sum(int(each["cost_nano"] or 0) for each in made["rows"]) == int(made["total"]["cost_nano"])


def test_names_cannot_command_a_terminal() -> None:
    assert printable("a\x1b[31mb\n\u202ec é 日本") == "a\\x1b[31mb\\n\\u202ec é 日本"
    shown = text(columns(cost_report(Question(("customer",), 0), [row("x\x1b[2J")])))
    assert "\x1b" not in shown
