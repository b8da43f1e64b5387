"""Grafana's dashboards: derived from their source, complete, and laid out so that nothing hides anything."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from typing import Any

import pytest
from shipped import GRAFANA, ROOT, alerts, dashboards, expressions, known, names_in, panels, read

BOARDS = dashboards()
PANELS = dict(panels())
BY_PLACE = expressions()
DATASOURCE = read(GRAFANA / "provisioning" / "datasources" / "prometheus.yml")["datasources"][0]


def test_the_dashboards_are_what_their_source_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(GRAFANA))
    spec = importlib.util.spec_from_file_location("write_dashboards", GRAFANA / "write.py")
    assert spec is not None
    assert spec.loader is not None
    source = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(source)
    written = {name: source.text_of(document) for name, document in source.dashboards().items()}
    shipped = {path.name: path.read_text("utf-8") for path in (GRAFANA / "dashboards").iterdir()}
    assert shipped == written, "run `make dashboards`"


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_links_to_the_other_one_and_to_ours(name: str) -> None:
    board = BOARDS[name]
    others = {f"/d/{each['uid']}/{each['uid']}" for each in BOARDS.values() if each is not board}
    assert {link["url"] for link in board["links"]} == {*others, "http://127.0.0.1:6066/"}
    assert board["schemaVersion"] >= 41


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_says_what_it_shows_in_which_unit_and_from_where(name: str) -> None:
    panel = PANELS[name]
    assert panel["type"] in {"stat", "timeseries"}, "Angular panels are no more"
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    for target in panel["targets"]:
        assert target["legendFormat"]
        assert target["datasource"]["uid"] == panel["datasource"]["uid"] == DATASOURCE["uid"]


@pytest.mark.parametrize("name", BOARDS)
def test_no_panel_lies_over_another_one_or_beyond_the_edge(name: str) -> None:
    board = BOARDS[name]
    assert [panel["id"] for panel in board["panels"]] == list(range(1, len(board["panels"]) + 1))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        fields = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & fields, panel["title"]
        taken |= fields


def test_titles_tell_the_panels_of_a_dashboard_apart_by_section() -> None:
    for board in BOARDS.values():
        titles: list[set[str]] = []
        for panel in board["panels"]:
            if panel["type"] == "row":
                titles.append(set())
            else:
                assert panel["title"] not in titles[-1]
                titles[-1].add(panel["title"])


def test_limits_rise() -> None:
    for panel in PANELS.values():
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert all(lower["value"] < upper["value"] for lower, upper in pairwise(steps[1:]))


def test_the_folder_that_is_provided_is_the_one_that_is_mounted() -> None:
    provider = read(GRAFANA / "provisioning" / "dashboards" / "plimsoll.yml")["providers"][0]
    grafana: dict[str, Any] = read(ROOT / "docker-compose.yml")["services"]["grafana"]
    mounted = {each.split(":")[1]: each.split(":")[0] for each in grafana["volumes"]}
    assert mounted[provider["options"]["path"]] == "./deploy/grafana/dashboards"
    assert mounted["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.removeprefix(provider["options"]["path"] + "/") in BOARDS


def test_every_expression_asks_for_what_there_is() -> None:
    there_is = known()
    for where, expression in BY_PLACE.items():
        asked = names_in(expression)
        assert asked, where
        assert asked <= there_is, where


def test_every_alert_can_be_looked_at_on_a_dashboard() -> None:
    """A metric of each alert's rule is on a panel, by itself or as recorded."""
    on_panels = {_base(name) for where in BY_PLACE if ".json" in where for name in names_in(BY_PLACE[where])}
    for name, rule in alerts().items():
        asked = names_in(rule["expr"])
        behind = {each for recorded in asked & BY_PLACE.keys() for each in names_in(BY_PLACE[recorded])}
        assert {_base(each) for each in asked | behind} & on_panels, name


def _base(name: str) -> str:
    """A histogram is one metric."""
    return name.removesuffix("_bucket").removesuffix("_count")
