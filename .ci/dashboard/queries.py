"""Every query of the rules and of the dashboard, run against a Prometheus."""

import json
import math
import re

RATE_INTERVAL = "10s"
MATCHER = re.compile(r'(\w+)=~"([^"]*)"')


def fail(message):
    raise SystemExit(f"dashboard and rules: {message}")


def value_of(prometheus, query):
    return prometheus.get("/api/v1/query", query=query)["result"]


def selectors(query):
    """The metrics that the query names, with their matchers; a choice of values is each of them."""
    for name, matchers in re.findall(r"\b((?:rejoin|process)_\w+)(\{(?:\"[^\"]*\"|[^\"}])*\})?", query):
        choices = [(label, values.split("|")) for label, values in MATCHER.findall(matchers) if re.fullmatch(r"[\w|-]+", values)]
        if not choices:
            yield name + matchers
        for label, values in choices:
            for value in values:
                yield name + re.sub(rf'{label}=~"[^"]*"', f'{label}="{value}"', matchers)


def check_rules(prometheus):
    """Each rule can be evaluated, and everything that it names selects something."""
    groups = prometheus.get("/api/v1/rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    for rule in rules:
        if rule["health"] != "ok":
            fail(f"{rule['name']} is {rule['health']}: {rule.get('lastError')}")
        for selector in selectors(rule["query"]):
            if not value_of(prometheus, selector):
                fail(f"{rule['name']}: {selector} selects nothing")
    alarms = [rule["name"] for rule in rules if rule["state"] != "inactive"]
    print(f"{len(rules)} rules: each selects series; alarms of this run: {', '.join(alarms) or 'none'}")


def check_dashboard(prometheus, span):
    """Each query of each panel gives series with values. Returns the panels with what they show."""
    with open("deploy/grafana/rejoin.json") as file:
        panels = json.load(file)["panels"]
    count = 0
    for panel in panels:
        panel["series"] = []
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", RATE_INTERVAL)
            query = re.sub(r"\$(job|instance)\b", ".*", query)
            shown = series(prometheus, query, target["legendFormat"], span)
            if not any(points for _, points in shown):
                fail(f"{panel['title']}: {query} shows nothing")
            panel["series"] += shown
            count += 1
    if count == 0:
        fail("there are no queries")
    print(f"{count} queries of {sum(bool(panel['series']) for panel in panels)} panels: each shows something")
    return panels


def series(prometheus, query, legend, span):
    """The series of a query, each with its name and its points, those that are numbers."""
    result = prometheus.get("/api/v1/query_range", query=query, start=span[0], end=span[1], step="1s")["result"]
    found = []
    for one in result:
        name = re.sub(r"\{\{(\w+)\}\}", lambda label: one["metric"].get(label[1], ""), legend)
        points = [(at, float(value)) for at, value in one["values"]]
        found.append((name, [point for point in points if math.isfinite(point[1])]))
    return found
