"""Writes the dashboards: `uv run python deploy/grafana/write.py`, or `make dashboards`. A test compares them with this.

Figures that every API process shows alike are taken once (max), counters are added up (sum), so that a dashboard is
right with any number of processes and workers. A line across a graph is where an alert begins.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from panels import BAD, DOUBTFUL, GOOD, Panel, Section, dashboard, quantiles, variable

HERE = Path(__file__).parent / "dashboards"
PIPELINE, BUSINESS = "/d/plimsoll-pipeline/plimsoll-pipeline", "/d/plimsoll-business/plimsoll-business"
OURS = ("Dashboard of Plimsoll", "http://127.0.0.1:6066/")
CHOSEN = '{worker=~"$worker"}'
"""The workers of the engine that were chosen. The API's processes have a label of the same name, and are not meant."""


def rate(counter: str, by: str, selector: str = "") -> str:
    """A counter's rate a second, added up by some labels."""
    return f"sum by ({by}) (rate({counter}{selector}[$__rate_interval]))"


GLANCE = Section(
    "At a glance",
    [
        Panel("Alerts firing", "Alerts of Plimsoll that fire now; the runbook says what to do about each.", "short",
              [('count(ALERTS{alertstate="firing"}) or vector(0)', "alerts")], [(1, BAD)], width=4, stat=True),
        Panel("Workers that answer", "Engine workers whose last scrape was answered, of all that are scraped.",
              "percentunit", [('avg(up{job="plimsoll-engine"})', "answer")], [(1, GOOD)], base=BAD, width=4, stat=True),
        Panel("Heartbeat age", "Since any worker spoke last. Beyond PLIMSOLL_STALE_SECONDS answers are marked stale.",
              "s", [("max(plimsoll_api_heartbeat_age_seconds)", "age")], [(5, DOUBTFUL), (15, BAD)], width=4,
              stat=True),
        Panel("Lag", "Records in Kafka that were not read yet, over all workers.", "short",
              [("sum(plimsoll:engine_lag_records:sum)", "records")], [(5_000, DOUBTFUL), (100_000, BAD)], width=4,
              stat=True),
        Panel("Tick to publish, p99", "From a price in Kafka to the result in Redis, five minutes.", "s",
              [("plimsoll:tick_to_publish_seconds:p99_5m", "p99")], [(0.1, DOUBTFUL), (1, BAD)], width=4, stat=True),
        Panel("Tick to subscriber, p99", "From a price to its being handed to subscribers, five minutes.", "s",
              [("plimsoll:tick_to_subscriber_seconds:p99_5m", "p99")], [(0.25, DOUBTFUL), (1, BAD)], width=4,
              stat=True),
    ],
)  # fmt: skip

ENGINE = Section(
    "Engine",
    [
        Panel("Lag by partition", "Records that were not read yet, by topic and partition.", "short",
              [(f"sum by (topic, partition) (plimsoll_engine_lag_records{CHOSEN})", "{{topic}} [{{partition}}]")]),
        Panel("Lag by worker", "The same, by worker. Growing for minutes: the worker does not keep up.", "short",
              [(f"plimsoll:engine_lag_records:sum{CHOSEN}", "{{worker}}")], [(5_000, DOUBTFUL), (100_000, BAD)]),
        Panel("Records by how they ended", "Each ends as applied, stale or dead. Every worker reads the market.",
              "reqps", [(rate("plimsoll_engine_records_total", "end", CHOSEN), "{{end}}")]),
        Panel("Tick to publish", "From the oldest new price of a window, in Kafka, to its results in Redis.", "s",
              quantiles("plimsoll_engine_tick_to_publish_seconds_bucket", CHOSEN)),
        Panel("Window time", "What it takes to revalue what the prices of one window touched.", "s",
              quantiles("plimsoll_engine_window_seconds_bucket", CHOSEN)),
        Panel("Epoch time", "What it takes to settle the output of an epoch, before its state is saved.", "s",
              quantiles("plimsoll_engine_epoch_seconds_bucket", CHOSEN)),
        Panel("Snapshots", "Portfolios valued, snapshots made of them, and snapshots written to Redis.", "ops",
              [(rate("plimsoll_engine_calculations_total", "worker", CHOSEN), "valued {{worker}}"),
               (rate("plimsoll_engine_snapshots_total", "worker", CHOSEN), "made {{worker}}"),
               (rate("plimsoll_engine_snapshots_written_total", "worker", CHOSEN), "written {{worker}}")]),
        Panel("Dead letters by reason", "Records set aside in five minutes. INTERNAL is a fault of ours.", "short",
              [(f"sum by (reason) (increase(plimsoll_engine_dead_letters_total{CHOSEN}[5m])) > 0", "{{reason}}")]),
        Panel("Share of dead letters", "Of the records of a topic, over five minutes.", "percentunit",
              [("plimsoll:engine_dead_letters:share5m", "{{topic}}")], [(0.01, BAD)]),
        Panel("Flow's loop", "Since a worker's flow last turned. Its supervisor ends one silent for ten "
              "seconds.", "s", [(f"plimsoll_engine_turn_age_seconds{CHOSEN}", "{{worker}}")], [(10, BAD)]),
        Panel("Batches", "Batches of records applied whole.", "ops",
              [(rate("plimsoll_engine_batches_total", "worker", CHOSEN), "{{worker}}")]),
        Panel("Waiting for", "1 while a worker waits for it, and calls of it that failed and are tried again.", "short",
              [(f"max by (dependency) (plimsoll_engine_awaited{CHOSEN})", "waits for {{dependency}}"),
               (rate("plimsoll_engine_retries_total", "dependency", CHOSEN), "retries of {{dependency}} a second")]),
        Panel("Portfolios by worker", "Open portfolios in each worker's book.", "short",
              [(f"plimsoll_engine_portfolios{CHOSEN}", "{{worker}}")], stacked=True),
        Panel("Positions and symbols", "Positions in the books, and symbols that a worker has met.", "short",
              [(f"sum(plimsoll_engine_positions{CHOSEN})", "positions"),
               (f"max(plimsoll_engine_symbols{CHOSEN})", "symbols")]),
        Panel("Uptime", "Since a worker started. It goes back to nothing where a supervisor had to start it again.",
              "s", [(f"time() - plimsoll_engine_start_time_seconds{CHOSEN}", "{{worker}}")]),
    ],
)  # fmt: skip

API = Section(
    "API",
    [
        Panel("Tick to subscriber", "From a price to its being handed to all subscribers of a stream.", "s",
              [*quantiles("plimsoll_api_tick_to_subscriber_seconds_bucket")], [(1, DOUBTFUL)]),
        Panel("Age of results", "Since the newest price in any result, and since the engine's newest heartbeat.", "s",
              [("max(plimsoll_api_result_age_seconds)", "newest result"),
               ("max(plimsoll_api_heartbeat_age_seconds)", "heartbeat"),
               ("max(plimsoll_api_stale_after_seconds)", "stale after")]),
        Panel("Ready", "1 while the API can answer, and while what it depends on is there.", "short",
              [("min(plimsoll_api_ready)", "ready"), ("min(plimsoll_api_redis_up)", "Redis"),
               ("min(plimsoll_api_subscriber_up)", "subscriber"), ("min(plimsoll_api_kafka_up)", "Kafka")]),
        Panel("Sockets and subscriptions", "Open now. Readers are what one subscription to Redis is fanned out to.",
              "short", [("sum by (protocol) (plimsoll_api_sockets_open)", "sockets {{protocol}}"),
                        ("sum by (field) (plimsoll_api_subscriptions_running)", "subscriptions {{field}}"),
                        ("sum(plimsoll_api_subscriptions_open)", "readers")]),
        Panel("Sockets opened and closed", "A second, and closed ones by code; 4xxx are ours.", "ops",
              [(rate("plimsoll_api_sockets_opened_total", "protocol"), "opened {{protocol}}"),
               (rate("plimsoll_api_sockets_closed_total", "code, by"), "closed {{code}} by the {{by}}")]),
        Panel("Slow readers and gaps", "Sockets closed because nothing was read, and times that Redis' messages may "
              "have been missed.", "ops", [("sum(rate(plimsoll_api_slow_readers_closed_total[$__rate_interval]))",
                                            "slow readers closed"),
                                           ("sum(rate(plimsoll_api_subscriber_gaps_total[$__rate_interval]))", "gaps"),
                                           ("sum(rate(plimsoll_api_messages_refused_total[$__rate_interval]))",
                                            "messages that are none")], [(0.1, DOUBTFUL)]),
        Panel("Messages", "Snapshots heard from Redis, messages handed to sockets, and both replaced by newer ones.",
              "ops", [("sum(rate(plimsoll_api_snapshots_received_total[$__rate_interval]))", "snapshots heard"),
                      ("sum(rate(plimsoll_api_snapshots_conflated_total[$__rate_interval]))", "snapshots conflated"),
                      ("sum(rate(plimsoll_api_messages_sent_total[$__rate_interval]))", "messages sent"),
                      ("sum(rate(plimsoll_api_messages_conflated_total[$__rate_interval]))", "messages conflated")]),
        Panel("Operations", "GraphQL operations that ended, by field.", "ops",
              [(rate("plimsoll_api_operations_total", "kind, field"), "{{kind}} {{field}}")]),
        Panel("Errors", "Share of operations with errors by field, and of HTTP answers that fail through us.",
              "percentunit", [("plimsoll:api_field_errors:share5m", "{{field}}"),
                              ("plimsoll:api_errors:share5m", "HTTP 5xx")], [(0.05, DOUBTFUL)]),
        Panel("Query time, p99", "Time to carry out a query, by field, five minutes.", "s",
              [("plimsoll:api_query_seconds:p99_5m", "{{field}}")], [(0.05, DOUBTFUL)]),
        Panel("Requests", "HTTP answers by status; 499: the caller left before.", "reqps",
              [(rate("plimsoll_api_requests_total", "status"), "{{status}}")], stacked=True),
        Panel("Time until an answer begins, p99", "Of HTTP requests, by route.", "s",
              [(("histogram_quantile(0.99, sum by (le, route)"
                " (rate(plimsoll_api_request_seconds_bucket[$__rate_interval])))"), "{{route}}")]),
        Panel("Loop lag", "By how much the event loop is late: everybody waits for it.", "s",
              quantiles("plimsoll_api_loop_lag_seconds_bucket"), [(0.05, DOUBTFUL)]),
        Panel("Computations on demand", "How long one takes and waits for a thread, p99 by name.", "s",
              [(("histogram_quantile(0.99, sum by (le, name)"
                " (rate(plimsoll_api_computation_seconds_bucket[$__rate_interval])))"), "{{name}}"),
               ("plimsoll:api_computation_wait_seconds:p99_5m", "{{name}} waits")], [(0.1, DOUBTFUL)]),
        Panel("Computations now", "Under way, and waiting for a thread.", "short",
              [("sum by (name) (plimsoll_api_computations_running)", "{{name}}"),
               ("sum by (name) (plimsoll_api_computations_waiting)", "{{name}} waits")]),
        Panel("Refused", "Before anything was carried out, by reason.", "reqps",
              [(rate("plimsoll_api_refused_total", "reason") + " > 0", "{{reason}}")], [(1, DOUBTFUL)]),
        Panel("Look-ups that hit", "Share of look-ups in the caches of documents that find something.", "percentunit",
              [(('sum by (cache) (rate(plimsoll_api_lookups_total{result="hit"}[$__rate_interval]))'
                " / (sum by (cache) (rate(plimsoll_api_lookups_total[$__rate_interval])) > 0)"), "{{cache}}")]),
    ],
)  # fmt: skip

PROCESSES = Section(
    "Processes",
    [
        Panel("CPU", "Cores that a process uses. One worker and one API process use one at the most, and threads.",
              "short", [('rate(process_cpu_seconds_total{job=~"plimsoll-.*"}[$__rate_interval])',
                         "{{job}} {{instance}} {{worker}}")]),
        Panel("Memory", "Resident, by process.", "bytes",
              [('process_resident_memory_bytes{job=~"plimsoll-.*"}', "{{job}} {{instance}} {{worker}}")]),
        Panel("Open files", "Sockets are among them. A process may have as many as its limit says.", "short",
              [('process_open_fds{job=~"plimsoll-.*"}', "{{job}} {{instance}} {{worker}}")]),
    ],
)  # fmt: skip

TODAY = Section(
    "Now",
    [
        Panel("Portfolios", "All that there are.", "short", [("plimsoll:portfolios:count", "portfolios")], base="text",
              width=4, stat=True),
        Panel("At risk", "Portfolios whose risk number is 70 or more, as a share of all.", "percentunit",
              [("plimsoll:portfolios_at_risk:share", "at risk")], [(0.1, DOUBTFUL), (0.25, BAD)], width=4, stat=True),
        Panel("Market value", "Of all portfolios.", "currencyUSD", [("max(plimsoll_api_firm_market_value_usd)", "USD")],
              base="text", width=4, stat=True),
        Panel("Value at risk 95 %", "What all portfolios as one lose in a day once in twenty, at least.", "currencyUSD",
              [("max(plimsoll_api_firm_var_95_usd)", "USD")], base="text", width=4, stat=True),
        Panel("Expected shortfall 97.5 %", "What they lose on average on the worst days, one in forty.", "currencyUSD",
              [("max(plimsoll_api_firm_es_975_usd)", "USD")], base="text", width=4, stat=True),
        Panel("Figures are", "Whether portfolios are missing in the firm's figures.", "short",
              [("min(plimsoll_api_firm_partial)", "firm")], [(1, BAD)], width=4, stat=True,
              said={0: "whole", 1: "partial"}),
    ],
)  # fmt: skip

RISK = Section(
    "Risk",
    [
        Panel("Portfolios by risk band", "Low below 30, moderate from 30, high from 70; NONE has no number.", "short",
              [("max by (band) (plimsoll_api_portfolios)", "{{band}}")], stacked=True),
        Panel("Portfolios at risk", "How many have a risk number of 70 or more.", "short",
              [("max(plimsoll_api_portfolios_at_risk)", "at risk")]),
        Panel("Share at risk", "Of all portfolios.", "percentunit", [("plimsoll:portfolios_at_risk:share", "at risk")],
              [(0.25, DOUBTFUL)]),
        Panel("The firm's tail", "Value at risk and expected shortfall of all portfolios as one, over a day.",
              "currencyUSD", [("max(plimsoll_api_firm_var_95_usd)", "value at risk 95 %"),
                              ("max(plimsoll_api_firm_var_99_usd)", "value at risk 99 %"),
                              ("max(plimsoll_api_firm_es_975_usd)", "expected shortfall 97.5 %")]),
        Panel("The firm's tail by market value", "The same as a share of market value.", "percentunit",
              [(f"max(plimsoll_api_firm_{name}_usd) / (max(plimsoll_api_firm_market_value_usd) > 0)", legend)
               for name, legend in (("var_95", "value at risk 95 %"), ("var_99", "value at risk 99 %"),
                                    ("es_975", "expected shortfall 97.5 %"))]),
        Panel("Market value", "Of all portfolios.", "currencyUSD",
              [("max(plimsoll_api_firm_market_value_usd)", "USD")]),
    ],
)  # fmt: skip

MODEL = Section(
    "Can it be relied on",
    [
        Panel("Live backtest by zone", "Basel's traffic light at 99 %. NONE: judged in fewer than 250 sessions.",
              "short",
              [("plimsoll:backtest_portfolios:count", "{{zone}}")], stacked=True),
        Panel("Exceptions", "Share of judged sessions that lost more than value at risk had said. 5 % and 1 %: right.",
              "percentunit",
              [(("sum by (confidence) (plimsoll_engine_backtest_exceptions) / on () group_left ()"
                " (sum(plimsoll_engine_backtest_sessions) > 0)"), "beyond {{confidence}}")],
              [(0.01, DOUBTFUL), (0.05, DOUBTFUL)]),
        Panel("Exceptions counted", "Over all open portfolios, since each was first judged.", "short",
              [("sum by (confidence) (plimsoll_engine_backtest_exceptions)", "beyond {{confidence}}")]),
        Panel("Stale and incomplete", "Portfolios of silent workers, and those that hold something without a price.",
              "short", [("max(plimsoll_api_portfolios_stale)", "stale"),
                        ("sum(plimsoll_engine_portfolios_incomplete)", "incomplete")]),
        Panel("Age of results", "Since the newest price or update that any result knows of.", "s",
              [("max(plimsoll_api_result_age_seconds)", "newest result")], [(60, DOUBTFUL)]),
        Panel("Coverage", "Share of gross exposure that has a price history of its own; the rest is proxied.",
              "percentunit", [("max(plimsoll_api_firm_coverage_ratio)", "coverage")], width=8),
    ],
)  # fmt: skip


def dashboards() -> dict[str, dict[str, Any]]:
    """File name to document."""
    worker = variable("worker", "Engine worker", "label_values(plimsoll_engine_turn_age_seconds, worker)")
    pipeline = dashboard(
        "plimsoll-pipeline",
        "Plimsoll: pipeline",
        "From a price in Kafka to its subscribers: how late, how much, and what stands in the way.",
        [GLANCE, ENGINE, API, PROCESSES],
        links=[("Business", BUSINESS), OURS],
        variables=[worker],
    )
    business = dashboard(
        "plimsoll-business",
        "Plimsoll: business",
        "How much there is, how risky it is, and whether these figures can be relied on.",
        [TODAY, RISK, MODEL],
        links=[("Pipeline", PIPELINE), OURS],
    )
    return {"pipeline.json": pipeline, "business.json": business}


def text_of(document: dict[str, Any]) -> str:
    """As it stands in its file."""
    return json.dumps(document, indent=2) + "\n"


def main() -> None:
    """Write both."""
    for name, document in dashboards().items():
        (HERE / name).write_text(text_of(document), encoding="utf-8")


if __name__ == "__main__":
    main()
