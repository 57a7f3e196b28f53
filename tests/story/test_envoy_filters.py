"""Rate limits as Istio's tasks write them, end to end: the call after the last allowed one gets 429."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.corpora import corpora_dir
from tests.ports import free_port
from tests.redis_server import RedisServer
from tests.traffic import Client, Replica, Story, ask, eventually, replicas, replicas_of, thing

GLOBAL = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: limits, namespace: istio-system}
spec:
  workloadSelector: {labels: {app: clt}}
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_OUTBOUND
      listener:
        filterChain:
          filter:
            name: envoy.filters.network.http_connection_manager
            subFilter: {name: envoy.filters.http.router}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.ratelimit
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
          domain: shop
          failure_mode_deny: true
          enable_x_ratelimit_headers: DRAFT_VERSION_03
          rate_limit_service:
            grpc_service: {envoy_grpc: {cluster_name: counts}}
            transport_api_version: V3
  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND, cluster: {service: counts.default.svc.cluster.local}}
    patch:
      operation: ADD
      value: {name: counts, type: STRICT_DNS, connect_timeout: 10s}
  - applyTo: VIRTUAL_HOST
    match:
      context: SIDECAR_OUTBOUND
      routeConfiguration: {vhost: {name: "app.default.svc.cluster.local:80", route: {action: ANY}}}
    patch:
      operation: MERGE
      value:
        rate_limits:
        - actions: [{request_headers: {header_name: ":path", descriptor_key: PATH}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ratelimit-config}
data:
  config.yaml: |
    domain: shop
    descriptors:
    - key: PATH
      value: /once
      rate_limit: {unit: hour, requests_per_unit: 1}
    - key: PATH
      rate_limit: {unit: hour, requests_per_unit: 3}
---
"""

LOCAL = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: limits, namespace: istio-system}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.local_ratelimit
        typed_config:
          "@type": type.googleapis.com/udpa.type.v1.TypedStruct
          type_url: type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
          value: {stat_prefix: limiter}
  - applyTo: HTTP_ROUTE
    match:
      context: SIDECAR_OUTBOUND
      routeConfiguration: {vhost: {name: "app.default.svc.cluster.local:80", route: {action: ANY}}}
    patch:
      operation: MERGE
      value:
        route:
          rate_limits:
          - actions: [{remote_address: {}}]
          - actions:
            - header_value_match:
                descriptor_value: page
                expect_match: true
                headers: [{name: ":path", string_match: {prefix: /page, ignore_case: true}}]
        typed_per_filter_config:
          envoy.filters.http.local_ratelimit:
            "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
            stat_prefix: limiter
            token_bucket: {max_tokens: 5, tokens_per_fill: 5, fill_interval: 3600s}
            enable_x_ratelimit_headers: DRAFT_VERSION_03
            filter_enabled: {runtime_key: on, default_value: {numerator: 100, denominator: HUNDRED}}
            filter_enforced: {runtime_key: on, default_value: {numerator: 100, denominator: HUNDRED}}
            response_headers_to_add: [{append: false, header: {key: x-local-rate-limit, value: "true"}}]
            descriptors:
            - entries: [{key: header_match, value: page}]
              token_bucket: {max_tokens: 2, tokens_per_fill: 2, fill_interval: 3600s}
---
"""


@pytest.fixture(scope="module")
def app() -> Iterator[Replica]:
    with replicas("a") as (one,):
        yield one


def test_a_rate_limit_service_is_counted_in_redis(tmp_path: Path, app: Replica) -> None:
    yaml = GLOBAL + replicas_of("app", app.port) + replicas_of("other", app.port)
    with (
        RedisServer(tmp_path) as redis,
        Story(tmp_path, yaml, "--redis", redis.url, "--labels", "app=clt", workers=2) as story,
    ):
        eventually(lambda: "counts the global limits" in story.proxy.text())
        answers = [story.ask("/once") for _ in range(3)]
        assert [answer.status for answer, _ in answers] == [200, 429, 429]
        answer, line = answers[-1]
        assert (answer.headers["x-envoy-ratelimited"], line["response_flags"]) == ("true", "RL")
        assert answer.headers["x-ratelimit-limit"] == "1, 1;w=3600"
        assert line["response_code_details"] == "request_rate_limited"
        for path in ("/a", "/b?x=1"):
            statuses = [ask(story.proxy, path).status for _ in range(12)]
            assert statuses == [200] * 3 + [429] * 9, path
        assert [ask(story.proxy, "/once", host="other").status for _ in range(3)] == [200] * 3
        eventually(lambda: b"shop/PATH=/once" in redis.ask("KEYS", "*"))


def test_a_local_filter_with_descriptors(tmp_path: Path, app: Replica) -> None:
    yaml = LOCAL + replicas_of("app", app.port) + replicas_of("other", app.port)
    with Story(tmp_path, yaml, workers=2) as story:
        answers = [story.ask("/Page/1") for _ in range(3)]
        assert [answer.status for answer, _ in answers] == [200, 200, 429]
        answer, line = answers[-1]
        assert (answer.text, line["response_flags"]) == ("local_rate_limited", "RL")
        assert line["response_code_details"] == "local_rate_limited"
        assert (answer.headers["x-local-rate-limit"], answer.headers["x-envoy-ratelimited"]) == ("true", "true")
        assert [answer.headers["x-ratelimit-remaining"] for answer, _ in answers] == ["1", "0", "0"]
        assert [ask(story.proxy, "/x").status for _ in range(4)] == [200] * 3 + [429]
        assert [ask(story.proxy, "/page", host="other").status for _ in range(9)] == [200] * 9


# ---- in the roles that Istio's samples are written for: by our own words, and by the samples where they lie


def of_role(yaml: str, context: str, vhost: str, selector: str) -> str:
    """The filters above for another place; services of rate limits are found by the name of their cluster."""
    yaml = yaml.replace("SIDECAR_OUTBOUND", context).replace("app.default.svc.cluster.local:80", vhost)
    if "workloadSelector" not in yaml:
        return yaml.replace(
            "spec:\n  configPatches", f"spec:\n  workloadSelector: {{labels: {{{selector}}}}}\n  configPatches"
        )
    return yaml.replace("app: clt", selector)


def sample(path: str) -> str:
    file = corpora_dir() / "istio" / "samples" / path
    if not file.is_file():
        pytest.skip(f"no {file.name} among the corpora")
    return file.read_text() + "\n---\n"


def productpage() -> str:
    """What the sample's service counts: in Istio's task, ten pages a minute and a hundred of the rest."""
    rules = "domain: productpage-ratelimit\ndescriptors:\n"
    for value, count in ((" value: /productpage,", 1), ("", 3)):
        rules += f"- {{key: PATH,{value} rate_limit: {{unit: hour, requests_per_unit: {count}}}}}\n"
    return thing("ConfigMap", "ratelimit-config", {}, "v1").replace(
        '"spec": {}', f'"data": {json.dumps({"c.yaml": rules})}'
    )


@pytest.mark.parametrize("written", ["own", "sample"])
def test_a_gateway_asks_a_rate_limit_service(tmp_path: Path, app: Replica, written: str) -> None:
    if written == "own":
        yaml = of_role(GLOBAL, "GATEWAY", "", "istio: ingressgateway").replace("/once", "/productpage")
    else:
        yaml = sample("bookinfo/policy/productpage_envoy_ratelimit.yaml") + productpage()
    servers = [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]
    yaml += thing("Gateway", "entry", {"selector": {"istio": "ingressgateway"}, "servers": servers})
    route = [{"route": [{"destination": {"host": "app"}}]}]
    yaml += thing("VirtualService", "entry", {"hosts": ["*"], "gateways": ["entry"], "http": route})
    port = free_port()
    flags = ("--bind", "127.0.0.1", "--map", f"80={port}", "--labels", "istio=ingressgateway")
    with (
        RedisServer(tmp_path) as redis,
        Story(tmp_path, yaml + replicas_of("app", app.port), "--redis", redis.url, *flags, role="gateway") as story,
    ):
        eventually(lambda: "counts the global limits" in story.proxy.text())
        with Client(port, "bookinfo.example.com") as client:
            assert [client.ask("/productpage").status for _ in range(4)] == [200] + [429] * 3
            answer = client.ask("/productpage")
            assert answer.headers["x-envoy-ratelimited"] == "true"
            assert [client.ask("/login").status for _ in range(6)] == [200] * 3 + [429] * 3
            assert [client.ask("/logout").status for _ in range(6)] == [200] * 3 + [429] * 3


@pytest.mark.parametrize(("written", "pages", "others"), [("own", 2, 3), ("sample", 10, 90)])
def test_a_sidecar_limits_what_comes_in(tmp_path: Path, app: Replica, written: str, pages: int, others: int) -> None:
    """A page takes a token of its own bucket, which holds `pages`, and one of the bucket of all."""
    door = free_port()
    if written == "own":
        yaml = of_role(LOCAL, "SIDECAR_INBOUND", "inbound|http|8000", "app: productpage").replace(
            "/page", "/productpage"
        )
    else:
        yaml = sample("ratelimit/local-rate-limit-service.yaml")
    ports = [{"name": "http", "port": 8000, "targetPort": app.port}]
    yaml += thing("Service", "productpage", {"selector": {"app": "productpage"}, "ports": ports}, "v1")
    entry = {"address": "127.0.0.1", "ports": {"http": door}, "labels": {"app": "productpage"}}
    yaml += thing("WorkloadEntry", "productpage-v1", entry)
    flags = ("--workload", "productpage-v1.default", "--inbound", f"127.0.0.1:{door}=127.0.0.1:{app.port}")
    with Story(tmp_path, yaml, *flags, role="sidecar"), Client(door, "productpage:8000") as client:
        answers = [client.ask("/productpage") for _ in range(pages + 2)]
        assert [answer.status for answer in answers] == [200] * pages + [429] * 2
        assert answers[-1].headers["x-local-rate-limit"] == "true"
        assert answers[-1].headers["x-envoy-ratelimited"] == "true"
        assert [answer.headers["x-ratelimit-remaining"] for answer in answers[:2]] == [str(pages - 1), str(pages - 2)]
        assert [client.ask("/x").status for _ in range(others + 2)] == [200] * others + [429] * 2
