"""`tollkeeper customers`: who is on which plan, from when to when, and what each has used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from accounts.customer import Customer
from accounts.policy import UNKNOWN, UNNAMED, Policy
from accounts.subscription import Override, Overrides, Subscription
from budgets.limit import ENFORCEMENTS
from gateway.cli.control import USE_UNKNOWN, open_control
from gateway.cli.customer_use import amounts, usage_document, usages_of
from gateway.cli.deals import deal, deal_options, read_deal
from gateway.cli.moments import moment_text, read_moment
from gateway.cli.options import common_options
from gateway.cli.output import show_json, show_table
from gateway.cli.plan_lines import read_label, read_rule_name
from gateway.cli.price_lines import deal_document, deal_text
from gateway.cli.subject import read_id
from gateway.cli.terms import amount_text, read_value

PAGE = 100


@click.group()
def customers() -> None:
    """Record customers, put them on plans, and see what they have used."""


customers.add_command(deal)


@customers.command()
@click.argument("customer")
@click.option("--name", default="", help="What people call it.")
@common_options
def add(customer: str, name: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Record a customer that is on no plan, or its new name."""
    with open_control(config, data_dir, create=True) as control:
        found = control.customerbook.add_customer(read_id(customer, "customer"), name)
        if as_json:
            show_json(_document(found, control.customerbook.now_ms()))
        else:
            click.echo(f"Customer {customer} is recorded.")
        control.settle()


@customers.command("list")
@click.option("--plan", help="Only those who are on this plan now.")
@click.option("--after", default="", metavar="CUSTOMER", help="Those whose names come after this one.")
@click.option("--limit", default=PAGE, show_default=True, type=click.IntRange(1, 10_000))
@common_options
def list_customers(
    plan: str | None, after: str, limit: int, config: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """Show customers by name, and what they are on now."""
    with open_control(config, data_dir) as control:
        found = control.customerbook.customers(after=after, limit=limit + 1, plan=plan)
        now_ms = control.customerbook.now_ms()
    shown = found[:limit]
    if as_json:
        show_json([_document(each, now_ms) for each in shown])
    else:
        rows = [(each.customer, each.name, *_on(each.at(now_ms))) for each in shown]
        show_table(("customer", "name", "plan", "since", "until"), rows)
    if len(found) > limit:
        click.echo(f"There are more: --after {shown[-1].customer}", err=True)


@customers.command()
@click.argument("customer")
@common_options
def show(customer: str, config: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Show a customer, its subscriptions, and what it has used of its plan."""
    with open_control(config, data_dir) as control:
        found = control.customerbook.customer(customer)
        now_ms = control.customerbook.now_ms()
        present = found.at(now_ms)
        usages = usages_of(control, customer, present) if present is not None else []
    if as_json:
        show_json(_document(found, now_ms) | {"limits": [usage_document(each) for each in usages]})
        return
    click.echo(f"{found.customer} {found.name}".rstrip())
    for each in found.subscriptions:
        plan, since, until = _on(each)
        mark = "now" if each is present else "later" if each.starts_ms > now_ms else "ended"
        paid = deal_text(each.deal)
        click.echo(f"  {mark}: {plan} from {since}{f' to {until}' if until else ''}{paid and f', {paid}'}")
    if present is not None and present.overrides:
        for name, override in present.overrides.limits.items():
            kind = read_rule_name(name)[1]
            value = "" if override.value is None else amount_text(kind, override.value)
            click.echo(f"  otherwise: {name} {value} {override.enforcement or ''}".rstrip())
        for feature, granted in present.overrides.features.items():
            click.echo(f"  otherwise: {feature} {'granted' if granted else 'refused'}")
    if usages:
        rows = [
            (
                str(getattr(usage.limit, "rule", usage.limit.id)),
                *("" if each is None else amount_text(usage.limit.kind, each) for each in amounts(usage)),
                usage.limit.enforcement,
            )
            for usage in usages
        ]
        show_table(("limit", "value", "used", "left", "enforcement"), rows, numeric=("value", "used", "left"))
    elif present is not None and control.redis is None:
        click.echo(USE_UNKNOWN, err=True)


@customers.command()
@click.argument("customer")
@click.argument("plan", metavar="PLAN[@VERSION]")
@click.option("--from", "starts", metavar="DATE", help="2026-12-31 or 2026-12-31T18:00, UTC. Default: now.")
@click.option(
    "--until", "ends", metavar="DATE", help="Such as the end of a trial. Default: until further notice."
)
@click.option(
    "--day",
    type=click.IntRange(1, 31),
    help="Its day of the month, for plans whose months begin on it. Default: as before, else the start's.",
)
@deal_options
@common_options
def subscribe(
    customer: str,
    plan: str,
    starts: str | None,
    ends: str | None,
    day: int | None,
    price: str | None,
    quantity: int,
    discount: str | None,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Put a customer on a plan, instead of what it is on then and what was to come later.

    It holds for the next request. What was used counts on where both plans count the same.
    """
    with open_control(config, data_dir, create=True) as control:
        key, version = read_label(plan)
        made = control.customerbook.subscribe(
            read_id(customer, "customer"),
            key,
            version=version,
            starts_ms=read_moment(starts) if starts else None,
            ends_ms=read_moment(ends) if ends else None,
            anchor=day,
            deal=read_deal(price, quantity, discount),
        )
        if as_json:
            show_json({"customer": customer, **made.to_fields()})
        else:
            until = f" until {moment_text(made.ends_ms)}" if made.ends_ms else ""
            click.echo(
                f"{customer} is on {made.plan}@{made.version} from {moment_text(made.starts_ms)}{until}."
            )
        control.settle()


@customers.command()
@click.argument("customer")
@click.option("--at", "ends", metavar="DATE", help="Default: now.")
@common_options
def unsubscribe(
    customer: str, ends: str | None, config: Path | None, data_dir: Path | None, as_json: bool
) -> None:
    """End what a customer is on; what was to follow is dropped."""
    with open_control(config, data_dir) as control:
        ended = control.customerbook.unsubscribe(customer, ends_ms=read_moment(ends) if ends else None)
        if as_json:
            show_json({"customer": customer, **ended.to_fields()})
        else:
            click.echo(f"{customer} is on {ended.plan}@{ended.version} until {moment_text(ended.ends_ms)}.")
        control.settle(urgent=True)


@customers.command()
@click.argument("customer")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="FEATURE/KIND/WINDOW=VALUE",
    help="Another value of a limit of its plan; :soft, :shadow or :hard: another enforcement. Repeatable.",
)
@click.option("--grant", "granted", multiple=True, metavar="FEATURE", help="Granted, whatever the plan says.")
@click.option(
    "--refuse", "refused", multiple=True, metavar="FEATURE", help="Refused, whatever the plan says."
)
@common_options
def override(
    customer: str,
    limits: tuple[str, ...],
    granted: tuple[str, ...],
    refused: tuple[str, ...],
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Set all that a customer has otherwise than its plan; without options, nothing any more."""
    with open_control(config, data_dir) as control:
        changed = dict(_read_override(text) for text in limits)
        features = dict.fromkeys(granted, True) | dict.fromkeys(refused, False)
        made = control.customerbook.override(customer, Overrides(changed, features))
        if as_json:
            show_json({"customer": customer, **made.to_fields()})
        else:
            count = len(changed) + len(features)
            click.echo(
                f"{customer} has {count or 'no'} thing{'' if count == 1 else 's'} otherwise than its plan."
            )
        control.settle(urgent=bool(refused))


@customers.command()
@click.option("--unknown", type=click.Choice(UNKNOWN), help="Customers that are on no plan.")
@click.option("--unnamed", type=click.Choice(UNNAMED), help="Requests that name no customer.")
@click.option("--default-plan", metavar="PLAN", help="With --unknown default_plan: on its latest version.")
@common_options
def policy(
    unknown: str | None,
    unnamed: str | None,
    default_plan: str | None,
    config: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Show or set what is done with customers that are on no plan, and with requests that name none."""
    with open_control(config, data_dir, create=True) as control:
        present = control.planbook.policy()
        if unknown or unnamed or default_plan:
            chosen = unknown or ("default_plan" if default_plan else present.unknown)
            plan = (default_plan or present.plan) if chosen == "default_plan" else None
            control.planbook.set_policy(Policy(chosen, unnamed or present.unnamed, plan))
            present = control.planbook.policy()
            control.settle()
    if as_json:
        shown = {"unknown": present.unknown, "unnamed": present.unnamed, "default_plan": present.plan}
        show_json({**shown, "disabled_features": list(present.disabled)})
        return
    plan = f" {present.plan}@{present.version}" if present.plan else ""
    click.echo(f"customers without a plan: {present.unknown}{plan}")
    click.echo(f"requests without a customer: {present.unnamed}")


def _read_override(text: str) -> tuple[str, Override]:
    name, _, rest = text.partition("=")
    feature, kind, window = read_rule_name(name)
    value, *marks = rest.split(":")
    unknown = [mark for mark in marks if mark not in ENFORCEMENTS]
    if unknown or len(marks) > 1 or not (value or marks):
        raise ValueError(f"{text!r}: write such as search/requests/month=5000 or search/requests/month=:soft")
    return f"{feature or '*'}/{kind}/{window}", Override(
        read_value(kind, value) if value else None, marks[0] if marks else None
    )


def _on(subscription: Subscription | None) -> tuple[str, str, str]:
    if subscription is None:
        return "", "", ""
    label = f"{subscription.plan}@{subscription.version}"
    return label, moment_text(subscription.starts_ms), moment_text(subscription.ends_ms)


def _document(customer: Customer, now_ms: int) -> dict[str, Any]:
    present = customer.at(now_ms)
    return {
        "customer": customer.customer,
        "name": customer.name,
        "plan": None if present is None else present.plan,
        "plan_version": None if present is None else present.version,
        "subscriptions": [
            each.to_fields() | {"deal": deal_document(each.deal)} for each in customer.subscriptions
        ],
    }
