"""The alert rules and the dashboard speak of metrics and labels that the gateway has, in valid PromQL."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway import metrics
from gateway.api import metrics as api_metrics
from gateway.forwarding import metrics as routing_metrics
from gateway.frontdoor import metrics as door_metrics
from gateway.healing import metrics as healing_metrics
from gateway.ingest import metrics as ingest_metrics
from gateway.recorder import metrics as recorder_metrics
from gateway.serve.exposition import KINDS
from gateway.serve.scrape import supervisor_lines

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "dashboards" / "alerts.yaml"
DASHBOARD = ROOT / "dashboards" / "grafana.json"
DOCUMENT = ROOT / "docs" / "metrics.md"
MODULES = (
    metrics,
    api_metrics,
    door_metrics,
    routing_metrics,
    ingest_metrics,
    recorder_metrics,
    healing_metrics,
)
SELECTOR = re.compile(r"\b(tollkeeper_\w+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\bby \(([^)]*)\)")


def exposed() -> dict[str, frozenset[str]]:
    """Every sample's name with its labels: of the registry, and of what the supervisor adds."""
    for module in (recorder_metrics, healing_metrics):
        module._metrics()  # made at the first use
    found: dict[str, frozenset[str]] = {}
    for collector in set(REGISTRY._collector_to_names):
        kind, name = getattr(collector, "_type", ""), getattr(collector, "_name", "")
        if not name.startswith("tollkeeper_"):
            continue
        labels = frozenset(collector._labelnames)  # type: ignore[attr-defined]
        if kind == "histogram":
            found |= {f"{name}_sum": labels, f"{name}_count": labels, f"{name}_bucket": labels | {"le"}}
        else:
            found[f"{name}_total" if kind == "counter" else name] = labels
    for family in text_string_to_metric_families(supervisor_lines(1, {"worker-0": 1})):
        found |= {sample.name: frozenset(sample.labels) for sample in family.samples}
    return found


def rules() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def faults(expression: str, known: dict[str, frozenset[str]]) -> list[str]:
    """Metrics that do not exist, and labels that those of the expression do not have."""
    found, labels = [], {"le"}
    for name, selector in SELECTOR.findall(expression):
        if name not in known:
            found.append(f"no metric {name}")
            continue
        labels |= known[name]
        asked = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)
        found += [f"{name} has no label {label}" for label in asked if label not in known[name]]
    for group in GROUPING.findall(expression):
        found += [f"no label {label.strip()}" for label in group.split(",") if label.strip() not in labels]
    return found


def test_every_metric_and_label_in_rules_and_dashboard_exists() -> None:
    known = exposed()
    assert len(known) > 40
    wrong = {
        f"{where}: {expression}": found
        for where, expression in [*rules(), *queries()]
        if (found := faults(expression, known))
    }
    assert wrong == {}


def test_the_check_above_finds_what_is_wrong() -> None:
    known = exposed()
    assert faults("sum(rate(tollkeeper_request_total[5m]))", known) == ["no metric tollkeeper_request_total"]
    assert faults('tollkeeper_denials_total{customer="a"}', known) == [
        "tollkeeper_denials_total has no label customer"
    ]
    assert faults("sum by (key) (tollkeeper_denials_total)", known) == ["no label key"]


def test_every_metric_is_explained_and_no_other() -> None:
    explained = set(re.findall(r"`(tollkeeper_\w+)`", DOCUMENT.read_text()))
    assert explained == {re.sub(r"_(sum|count|bucket)$", "", name) for name in exposed()}


def test_legends_and_texts_name_labels_that_are_there() -> None:
    for panel in panels():
        for target in panel["targets"]:
            grouped = {
                label.strip() for group in GROUPING.findall(target["expr"]) for label in group.split(",")
            }
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert shown <= grouped, target
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"].keys() == {"summary", "action"}, rule["alert"]
            assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
            for label in re.findall(r"\$labels\.(\w+)", str(rule["annotations"])):
                assert label in rule["expr"] or label == "child", rule["alert"]


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


# By Prometheus' own tool

promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")

FIRING = """\
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'tollkeeper_workers_ready', values: '1x30 0x30'}}
      - {{series: 'tollkeeper_accepted_requests_total', values: '0+10x60'}}
      - {{series: 'tollkeeper_open_requests', values: '2x60'}}
      - {{series: 'tollkeeper_outbox_entries', values: '0x60'}}
      - {{series: 'tollkeeper_spilled_entries', values: '0x60'}}
      - {{series: 'tollkeeper_recorder_entries_total{{result="recorded"}}', values: '0+10x30 300+5x30'}}
      - {{series: 'tollkeeper_attempts_total{{provider="a",outcome="succeeded"}}', values: '0+9x60'}}
      - {{series: 'tollkeeper_attempts_total{{provider="a",outcome="failed"}}', values: '0+1x30 30+9x30'}}
    alert_rule_test:
      - {{eval_time: 20m, alertname: TollkeeperDown}}
      - {{eval_time: 20m, alertname: TollkeeperEventsMissing}}
      - {{eval_time: 20m, alertname: TollkeeperProviderFails}}
      - eval_time: 40m
        alertname: TollkeeperDown
        exp_alerts:
          - exp_labels: {{severity: page}}
            exp_annotations:
              summary: No gateway worker accepts requests.
              action: Look at the log of `tollkeeper serve`; it says why its workers end.
      - eval_time: 55m
        alertname: TollkeeperProviderFails
        exp_alerts:
          - exp_labels: {{severity: page, provider: a}}
            exp_annotations:
              summary: More than a fifth of the attempts at a fail.
              action: See its status page; a fallback in the route keeps clients served.
      - eval_time: 60m
        alertname: TollkeeperEventsMissing
        exp_alerts:
          - exp_labels: {{severity: page}}
            exp_annotations:
              summary: 153 accepted requests are neither running, waiting nor recorded.
              action: Look for dead letters and journals; `docs/operations.md` says where.
"""


def told(*words: str) -> str:
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.debian
@promtool
def test_prometheus_reads_the_rules() -> None:
    assert f"{len(list(rules()))} rules found" in told("check", "rules", str(ALERTS))


@pytest.mark.debian
@promtool
def test_prometheus_reads_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    recorded = [
        {"record": f"panel:query:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, (_, expression) in enumerate(queries())
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    assert f"{len(recorded)} rules found" in told("check", "rules", str(file))


@pytest.mark.debian
@promtool
def test_alerts_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    file = tmp_path / "firing.yaml"
    file.write_text(FIRING.format(rules=ALERTS))
    told("test", "rules", str(file))


@pytest.mark.debian
@promtool
def test_prometheus_reads_what_is_exposed() -> None:
    exposed()
    text = generate_latest(REGISTRY).decode() + supervisor_lines(2, {"worker-0": 1})
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_is_of_a_kind_that_processes_can_add_up() -> None:
    """A scrape adds up the value files of all processes; a kind that it does not know ends it."""
    exposed()
    kinds = {
        f"gauge_{collector._multiprocess_mode}" if collector._type == "gauge" else collector._type
        for collector in set(REGISTRY._collector_to_names)
        if getattr(collector, "_name", "").startswith("tollkeeper_")
    }
    assert kinds <= set(KINDS), kinds - set(KINDS)
