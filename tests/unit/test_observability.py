"""The dashboard and the table in the docs name the metrics that there are."""

import json
import re
from pathlib import Path

from serving.observation.metrics import Metrics

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy/observability/grafana/dashboards/beamstep.json"
TABLE = ROOT / "docs/operating/observing.md"


def families():
    return {family.name: family for family in Metrics().registry.collect()}


def exposed():
    found = set()
    for name, family in families().items():
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        found.update(name + ending for ending in endings)
    return found


def test_the_dashboard_asks_for_metrics_that_there_are():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    asked = {name for text in expressions for name in re.findall(r"\b(?:beamstep|process)_\w+", text)}
    assert len(asked) > 15
    assert asked <= exposed()


def test_the_table_is_what_is_exported():
    told = dict(re.findall(r"^\| `(beamstep_\w+)` \| (\w+) \|", TABLE.read_text(), re.MULTILINE))
    assert told == {name: family.type for name, family in families().items() if name.startswith("beamstep_")}
