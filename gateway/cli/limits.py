"""`tollkeeper limits`: what may be spent and counted, on whom, and how much of it is used."""

from __future__ import annotations

from pathlib import Path

import click

from budgets.limit import ENFORCEMENTS, windows_for
from budgets.window import CONCURRENCY_WINDOW, RATE_WINDOW, WINDOW_KINDS
from gateway.cli.control import USE_UNKNOWN, Control, open_control
from gateway.cli.limit_lines import COLUMNS, NUMERIC, Line, document_of, lines_of, used_lines
from gateway.cli.options import common_options
from gateway.cli.output import fail, show_json, show_table
from gateway.cli.subject import Subject, covering, read_subject
from gateway.cli.terms import KIND_WORDS, kind_of, kind_word, read_thresholds, read_value, terms_text

ROWS_SHOWN = 10
_kind = click.option(
    "--kind", type=click.Choice(KIND_WORDS), default="money", show_default=True, help="What is counted."
)


@click.group()
def limits() -> None:
    """Set, list and clear limits.

    SUBJECT is what a limit is on: a key's id, the beginning of one, or its name; customer:acme,
    workspace:acme/eu, feature:summarize, customer:acme/feature:summarize, plan:pro, trace:ID, route:gpt-4o,
    key:ID, or account. With * instead of an ID, each has a limit of its own.
    """


@limits.command("set")
@click.argument("subject")
@click.argument("window_and_value", nargs=-1, required=True, metavar="[WINDOW] VALUE")
@_kind
@click.option("--time-zone", metavar="NAME", help="Such as Europe/Berlin: where days begin. New limits: UTC.")
@click.option(
    "--anchor", type=int, metavar="DAY", help="First day of months (1 to 31) or weeks (1, Monday, to 7)."
)
@click.option(
    "--enforcement",
    type=click.Choice(ENFORCEMENTS),
    help="hard refuses; soft and shadow only count. Default: as it is, hard for a new limit.",
)
@click.option(
    "--thresholds", metavar="PERCENTS", help="50,80,100: notices are given there; none takes them away."
)
@common_options
def set_limit(
    subject: str,
    window_and_value: tuple[str, ...],
    kind: str,
    time_zone: str | None,
    anchor: int | None,
    enforcement: str | None,
    thresholds: str | None,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Set what may be used in each WINDOW: limits set my-app month 25.00

    WINDOW is day, week, month or lifetime; rates, concurrency and traces need none. VALUE is dollars, or a
    whole number for other kinds. SUBJECT: see `tollkeeper limits --help`. It holds for the next request. A
    new limit counts from now on; changing one keeps what it has counted, unless its windows begin elsewhere.
    """
    with open_control(config, data_dir) as control:
        on = read_subject(subject, control.keyring.find)
        window, text = _window_and_value(on, kind_of(kind), window_and_value)
        change = control.limitbook.set(
            on.scope,
            on.scope_id,
            kind_of(kind),
            window,
            read_value(kind_of(kind), text),
            enforcement=enforcement,
            time_zone=time_zone,
            anchor=anchor,
            thresholds=None if thresholds is None else read_thresholds(thresholds),
        )
        limit = change.limit
        if as_json:
            show_json(document_of(Line(limit, on.name)) | {"restarted": change.restarted})
        else:
            marks = ", ".join(f"{percent} %" for percent in limit.thresholds)
            told = f", notices at {marks}" if marks else ""
            click.echo(f"{on.title}: {terms_text(limit)}, {limit.enforcement}{told}.")
        if change.restarted:
            click.echo(
                "Its windows begin at other moments now, so it is a new limit that counts from now on.",
                err=True,
            )
        control.settle()


@limits.command("list")
@click.argument("subject", required=False)
@click.option(
    "--all", "every", is_flag=True, help=f"Every row of limits on each, not the {ROWS_SHOWN} fullest."
)
@common_options
def list_limits(
    subject: str | None, every: bool, config: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """Show every limit, or those that count SUBJECT, with what is used and left in the present window.

    A limit on each (customer:*) is shown with those of whom the least remains. Of a rate, what remains is
    what could be taken at once, now.
    """
    with open_control(config, data_dir) as control:
        on = read_subject(subject, control.keyring.find) if subject else None
        lines = _lines(control, on)
        if control.redis is not None:
            lines = used_lines(control.redis, lines, rows_max=None if every else ROWS_SHOWN)
    if as_json:
        show_json([document_of(line) for line in lines])
        return
    if lines and control.redis is None:
        click.echo(USE_UNKNOWN, err=True)
    show_table(COLUMNS, [row for line in lines for row in lines_of(line)], numeric=NUMERIC)
    for line in lines:
        if line.each is not None and len(line.each.rows) < line.each.total:
            click.echo(
                f"{line.subject}, {line.limit.window} {kind_word(line.limit.kind)}: "
                f"{len(line.each.rows)} of {line.each.total} are shown; --all shows every one.",
                err=True,
            )


@limits.command("clear")
@click.argument("subject")
@click.argument("window", required=False)
@_kind
@common_options
def clear_limit(
    subject: str, window: str | None, kind: str, config: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """Take a limit away from SUBJECT. WINDOW as it was set; rates, concurrency and traces need none."""
    with open_control(config, data_dir) as control:
        on = read_subject(subject, control.keyring.find)
        window = _window(on, kind_of(kind), window)
        cleared = control.limitbook.clear(on.scope, on.scope_id, kind_of(kind), window) is not None
        what = "limit" if window in (RATE_WINDOW, CONCURRENCY_WINDOW) else f"{window} limit"
        what += "" if kind == "money" else f" of {kind}"
        if as_json:
            shown = {"subject": on.text, "kind": kind_of(kind), "window": window, "cleared": cleared}
            show_json({**({"key_id": on.scope_id} if on.scope == "key" else {}), **shown})
        elif cleared:
            click.echo(f"{on.title} has no {what} any more.")
        if cleared:
            control.settle()
    if not cleared:
        fail(f"{on.title} has no {what}.")


def _lines(control: Control, on: Subject | None) -> list[Line]:
    """The limits to be shown, not yet with what is used."""
    book = control.limitbook
    if on is None:
        names = {record.id: record.name for record in control.keyring.list()}
        return [
            Line(limit, names.get(limit.scope_id) if limit.scope == "key" else None) for limit in book.list()
        ]
    found = book.list(scope=on.scope, scope_ids=covering(on.scope, on.scope_id))
    lines = [
        Line(limit, on.name) if limit.scope_id == on.scope_id else Line(limit, None, of=on.scope_id)
        for limit in found
    ]
    if on.scope == "customer":
        lines += [Line(limit, None) for limit in book.list(customer=on.scope_id) if limit.scope != "customer"]
    return lines


def _window_and_value(on: Subject, kind: str, words: tuple[str, ...]) -> tuple[str, str]:
    """The window, implied where there is but one, and the value's text. ValueError says what is missing."""
    if len(words) == 2:
        return _window(on, kind, words[0]), words[1]
    if len(words) > 2:
        raise ValueError(f"{' '.join(words)!r}: after the subject write WINDOW VALUE, such as month 25.00")
    if words[0] in WINDOW_KINDS:
        raise ValueError(f"after {words[0]!r} write the limit's value, such as {words[0]} 25.00")
    return _window(on, kind, None), words[0]


def _window(on: Subject, kind: str, given: str | None) -> str:
    """The window, which may be left out where there is but one. ValueError says what is wrong."""
    fitting = windows_for(on.scope, kind)
    if given is None and len(fitting) == 1:
        return fitting[0]
    if given is not None and given in fitting:
        return given
    wrong = "needs a window" if given is None else f"cannot have the window {given!r}"
    raise ValueError(
        f"a limit of {kind_word(kind)} on {on.text} {wrong}; write {', '.join(fitting[:-1])} or {fitting[-1]}"
        if len(fitting) > 1
        else f"a limit of {kind_word(kind)} on {on.text} {wrong}; its only one is {fitting[0]}, "
        "which need not be written"
    )
