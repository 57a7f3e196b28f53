"""Rate limits as Istio's tasks write them, end to end: the call after the last allowed one gets 429."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.traffic import Replica, Story, ask, eventually, replicas, replicas_of

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
