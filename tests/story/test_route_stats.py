"""Numbers of matches with a statPrefix: each match by itself, over all workers, in /stats and for Prometheus."""

from __future__ import annotations

from pathlib import Path

from tests.traffic import Story, ask, eventually, replicas, replicas_of, to, virtual_service

HOST = "vhost.app.default.svc.cluster.local:80.route"


def test_route_stats(tmp_path: Path) -> None:
    statuses = {"/a": 200, "/b": 404, "/late": 200, "/again": 503}
    matches = [
        {"uri": {"prefix": "/a"}, "statPrefix": "one"},
        {"uri": {"prefix": "/b"}, "statPrefix": "two"},
        {"uri": {"prefix": "/c"}},
    ]
    retries = {"attempts": 2, "retryOn": "5xx"}
    rules = (
        {"match": [{"uri": {"prefix": "/again"}, "statPrefix": "again"}], "retries": retries},
        {"match": [{"uri": {"exact": "/self"}, "statPrefix": "self"}], "directResponse": {"status": 200}},
        {"match": matches, "route": to("app")},
    )
    with (
        replicas("app", act=lambda request: statuses.get(request.path, 200)) as (app,),
        Story(tmp_path, replicas_of("app", app.port) + virtual_service("app", *rules), workers=2) as story,
    ):
        for path, times in (("/a", 3), ("/b", 2), ("/c", 1), ("/again", 1), ("/self", 1)):
            for _ in range(times):
                ask(story.port, path)
        found = eventually(lambda: (s := story.stats("^vhost")).get(f"{HOST}.again.upstream_rq_total") and s)
        assert found is not None
        one = {name.removeprefix(f"{HOST}.one.upstream_rq_"): n for name, n in found.items() if ".one." in name}
        assert (one["total"], one["2xx"], one["4xx"], one["retry"]) == (3, 3, 0, 0)
        assert (found[f"{HOST}.two.upstream_rq_total"], found[f"{HOST}.two.upstream_rq_4xx"]) == (2, 2)
        assert (found[f"{HOST}.again.upstream_rq_5xx"], found[f"{HOST}.again.upstream_rq_retry"]) == (1, 2)
        assert not any(".self." in name for name in found)  # the proxy's own answers are not the route's
        text = story.proxy.get("/stats/prometheus")[1]
        label = 'virtual_host="app.default.svc.cluster.local:80",route="two"'
        assert f'fastmesh_route_responses_total{{{label},code_class="4xx"}} 2' in text
