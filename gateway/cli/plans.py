"""`tollkeeper plans`: what customers may use, and how much of it."""

from __future__ import annotations

from pathlib import Path

import click

from accounts.plan import OWN_DAY, PlanRule, PlanVersion
from accounts.planprice import INTERVAL_MAX, TIMINGS, PlanPrice
from gateway.cli.control import open_control
from gateway.cli.options import common_options
from gateway.cli.output import show_json, show_table
from gateway.cli.plan_lines import others_word, plan_document, read_label, read_rule, read_version, rule_text
from gateway.cli.price_lines import price_text, rate_text, read_rate
from gateway.cli.terms import read_usd


@click.group()
def plans() -> None:
    """Make, list and show plans, and move their customers to a new version.

    A version never changes: `set` with another content makes a new one, and customers stay on theirs until
    `migrate`.
    """


@plans.command("set")
@click.argument("plan")
@click.option("--name", default="", help="What people call it.")
@click.option("--feature", "features", multiple=True, metavar="KEY", help="What its customers may use.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="FEATURE/KIND/WINDOW=VALUE",
    help="search/requests/month=1000, */money/month=25.00 (* is all features together). Add :soft or :shadow "
    "to count without refusing, :carry=500 to carry over so much that was not used. Repeatable.",
)
@click.option(
    "--other-features",
    type=click.Choice(["allow", "deny"]),
    help="Features that are not named, and requests that name none. Default: allow where none is named.",
)
@click.option("--price", metavar="USD", help="What a customer pays for each period. Default: not known.")
@click.option(
    "--rate",
    "rates",
    multiple=True,
    metavar="FEATURE=MODEL[:TERMS]",
    help="What a feature costs on top: search=usage:2.00/1000000, search=graduated:1000=0.02,*=0.01+5.00 "
    "(+ once a period), search=package:1000=5.00, search=included. Repeatable.",
)
@click.option(
    "--interval-months",
    default=1,
    show_default=True,
    type=click.IntRange(1, INTERVAL_MAX),
    help="A period's months.",
)
@click.option("--billing", default=TIMINGS[0], show_default=True, type=click.Choice(TIMINGS))
@click.option("--time-zone", default="UTC", show_default=True, help="Where days begin.")
@click.option(
    "--anchor",
    default="1",
    show_default=True,
    metavar="DAY",
    help="First day of its months: 1 to 31, or subscription for each customer's own.",
)
@common_options
def set_plan(
    plan: str,
    name: str,
    features: tuple[str, ...],
    limits: tuple[str, ...],
    other_features: str | None,
    price: str | None,
    rates: tuple[str, ...],
    interval_months: int,
    billing: str,
    time_zone: str,
    anchor: str,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Make a plan, or a new version of it. A feature that a limit or a rate names is granted too."""
    with open_control(config, data_dir, create=True) as control:
        rules = tuple(read_rule(text) for text in limits)
        charged = tuple(read_rate(text) for text in rates)
        named = dict.fromkeys(
            (
                *features,
                *(rule.feature for rule in rules if rule.feature),
                *(rate.feature for rate in charged),
            )
        )
        others = not named if other_features is None else other_features == "allow"
        paid = None
        if price is not None or charged:
            paid = PlanPrice(read_usd(price or "0"), interval_months, billing, rates=charged)
        wish = PlanVersion(plan, 0, tuple(named), others, rules, time_zone, _anchor(anchor), name, paid)
        latest, new = control.planbook.put_plan(wish)
        if as_json:
            show_json(plan_document(latest) | {"new": new})
        elif new:
            click.echo(f"Plan {latest.label}{_of_rules(latest.rules)}.")
        else:
            click.echo(f"Plan {latest.label} is so already.")
        control.settle()
        before = latest.version - 1
        if new and before and control.customerbook.subscribers().get((plan, before)):
            click.echo(
                f"Its customers stay on the version they are on; tollkeeper plans migrate {plan}", err=True
            )


@plans.command("list")
@common_options
def list_plans(config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show the latest version of every plan, and how many customers are on any version."""
    with open_control(config, data_dir) as control:
        found = control.planbook.plans()
        counts: dict[str, int] = {}
        for (plan, _), count in control.customerbook.subscribers().items():
            counts[plan] = counts.get(plan, 0) + count
    if as_json:
        show_json(
            [
                plan_document(plan) | {"archived": archived, "customers": counts.get(plan.plan, 0)}
                for plan, archived in found
            ]
        )
        return
    rows = [
        (
            plan.label,
            plan.name,
            "" if plan.price is None else price_text(plan.price),
            ", ".join(plan.features) + (" and others" if plan.others else ""),
            "; ".join(map(rule_text, plan.rules)),
            str(counts.get(plan.plan, 0)),
            "archived" if archived else "",
        )
        for plan, archived in found
    ]
    show_table(
        ("plan", "name", "price", "features", "limits", "customers", "state"), rows, numeric=("customers",)
    )


@plans.command("show")
@click.argument("plan")
@common_options
def show_plan(plan: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show a plan's latest version, or one version: plans show pro@2"""
    with open_control(config, data_dir) as control:
        found = control.planbook.plan(*read_label(plan))
        on_it = control.customerbook.subscribers().get((found.plan, found.version), 0)
    if as_json:
        show_json(plan_document(found) | {"customers": on_it})
        return
    click.echo(f"{found.label} {found.name}".rstrip())
    click.echo(f"  features: {', '.join(found.features) or 'none'}; others: {others_word(found)}")
    if found.time_zone != "UTC" or found.anchor != 1:
        day = "each customer's own day" if found.anchor == OWN_DAY else f"day {found.anchor}"
        click.echo(f"  months begin on {day}, in {found.time_zone}")
    if found.price is not None:
        click.echo(f"  {price_text(found.price)}")
        for rate in found.price.rates:
            click.echo(f"  {rate_text(rate)}")
    for rule in found.rules:
        click.echo(f"  {rule_text(rule)}")
    click.echo(f"  customers: {on_it}")


@plans.command("migrate")
@click.argument("plan")
@click.option("--to", "version", metavar="VERSION", help="Default: the latest.")
@common_options
def migrate(
    plan: str, version: str | None, config: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """Put every customer of PLAN on one of its versions. What they have used counts on."""
    with open_control(config, data_dir) as control:
        chosen = control.planbook.plan(plan, read_version(version) if version else None)
        moved = control.customerbook.migrate(plan, version=chosen.version)
        if as_json:
            show_json({"plan": plan, "version": chosen.version, "customers": moved})
        else:
            click.echo(f"{len(moved)} customers are on {chosen.label} now.")
        control.settle()


@plans.command("archive")
@click.argument("plan")
@click.option("--undo", is_flag=True, help="Let it take new customers again.")
@common_options
def archive(plan: str, undo: bool, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Let a plan take no new customers. Who is on it stays."""
    with open_control(config, data_dir) as control:
        control.planbook.archive(plan, archived=not undo)
        if as_json:
            show_json({"plan": plan, "archived": not undo})
        else:
            click.echo(f"Plan {plan} takes {'new customers again' if undo else 'no new customers'}.")


def _anchor(text: str) -> int:
    if text == "subscription":
        return OWN_DAY
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 31):
        raise ValueError(f"anchor {text!r}: write a day of the month, 1 to 31, or subscription")
    return int(text)


def _of_rules(rules: tuple[PlanRule, ...]) -> str:
    return f": {'; '.join(map(rule_text, rules))}" if rules else ", without limits"
