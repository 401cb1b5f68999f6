"""Alert rules and the dashboard, held against what a running worker says."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from support.paths import TREE, tool
from support.process import wait_until
from support.world import World

RULES = TREE / "deploy" / "alerts" / "klaviyo-worker.rules.yaml"
RULE_TESTS = TREE / "deploy" / "alerts" / "klaviyo-worker.test.yaml"
DASHBOARD = TREE / "deploy" / "dashboard" / "klaviyo-worker.json"
METRIC = re.compile(r"\bklaviyo_worker_\w+")
ALERT = re.compile(r"- alert: (\w+)")


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        [tool("promtool"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def panels() -> list[dict[str, Any]]:
    found = json.loads(DASHBOARD.read_text())["panels"]
    assert isinstance(found, list)
    return found


def dashboard_expressions() -> str:
    return "\n".join(target["expr"] for panel in panels() for target in panel.get("targets", []))


def test_alert_rules_are_valid_and_do_what_their_tests_say() -> None:
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(RULE_TESTS))


def test_each_alert_is_tested_and_leads_to_a_section_of_its_name() -> None:
    rules = RULES.read_text()
    names = ALERT.findall(rules)
    assert len(names) == len(set(names)) > 6
    links = re.findall(r"runbook_url: https://runbooks\.example/klaviyo-worker#(\w+)", rules)
    assert links == [name.lower() for name in names]
    tested = RULE_TESTS.read_text()
    assert [name for name in names if f"alertname: {name}\n        exp_alerts:" not in tested] == []


def test_every_metric_in_alerts_and_dashboard_exists_in_a_scrape(world: World) -> None:
    worker = world.start_worker().wait_ready()
    texts = RULES.read_text() + RULE_TESTS.read_text() + dashboard_expressions()
    named = set(METRIC.findall(texts)) - {"klaviyo_worker_progress_age_seconds"}  # needs a run
    assert len(named) > 20
    wait_until(lambda: named <= set(METRIC.findall(worker.page("/metrics"))), 10, f"all of {named}")


def test_every_expression_of_the_dashboard_is_one(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:expression:{n}", "expr": expression.replace("$job", ".*").replace("$__rate_interval", "5m")}
        for n, expression in enumerate(
            target["expr"] for panel in panels() for target in panel.get("targets", [])
        )
    ]
    assert len(rules) > 30
    path = tmp_path / "rules.json"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(path))


def test_the_dashboard_shows_freshness_outages_outcomes_and_what_slots_do() -> None:
    expressions = dashboard_expressions()
    for name in (
        "export_last_success_timestamp_seconds",
        "export_expected_every_seconds",
        "waiting_runs_by_reason",
        "oldest_waiting_outcome_age_seconds",
        'run_slots{job=~"$job",state="busy"}',
    ):
        assert f"klaviyo_worker_{name}" in expressions, name


def test_panels_of_the_dashboard_have_their_own_id_and_place() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
