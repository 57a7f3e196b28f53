"""`fastmesh describe`: every rule that touches an object or a host, from the compiled tables. Sends nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click
import orjson

from fastmesh.config.describe.story import Story
from fastmesh.config.describe.story import describe as tell
from fastmesh.config.describe.target import UnknownTargetError, find
from fastmesh.config.store import read
from fastmesh.errors import EXIT_DATA, EXIT_FAILURE, Problem


@click.command(short_help="Show every rule that touches an object or a host.")
@click.argument("target", metavar="KIND/NAME[.NAMESPACE]|HOST")
@click.option("-f", "--file", "files", multiple=True, required=True, metavar="PATH", help="A file or a folder.")
@click.option("--mesh-config", default="", metavar="PATH", help="A file with MeshConfig.")
@click.option("-n", "--namespace", default=None, help="The client's namespace; the target's by default.")
@click.option("--labels", default="", metavar="K=V,...", help="The client's labels.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def describe(
    target: str, files: tuple[str, ...], mesh_config: str, namespace: str | None, labels: str, output: str
) -> int:
    """Show what a mesh makes of KIND/NAME or HOST: rules in order with their clauses, destinations with subsets and
    policy, endpoints, mTLS of each port, limits, gateways, and the rules that no request can reach.
    """
    result = read(files, allow_unenforced=True, mesh_config=mesh_config)
    if not result.ok:
        _show(result.errors)
        return EXIT_DATA
    pairs = [pair.partition("=") for pair in labels.split(",") if pair.strip()]
    try:
        found = find(result.resources, target, namespace)
    except UnknownTargetError as error:
        click.echo(str(error), err=True)
        return EXIT_FAILURE
    client = {name.strip(): value.strip() for name, _, value in pairs}
    told = tell(result.resources, result.problems, found, namespace, client)
    if not (told["objects"] or told["views"] or told["unused"]):
        click.echo(f"no object of these files has anything to do with {target}", err=True)
        return EXIT_FAILURE
    if output == "json":
        sys.stdout.buffer.write(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    else:
        click.echo("\n".join(_text(told)))
    return 0


def _show(problems: Iterable[Problem]) -> None:
    for problem in problems:
        click.echo(str(problem), err=True)


def _text(told: Story) -> Iterator[str]:
    for each in told["objects"]:
        yield f"{_named(each)} ({each['file']}:{each['line']})"
    for view in told["views"]:
        yield ""
        yield view["view"]
        yield from _indented(1, (line for each in view["listeners"] for line in _listener(each)))
        yield from _indented(1, (line for each in view["hosts"] for line in _host(each)))
        for each in view["connections"]:
            place = [*each["addresses"], *([f"port {each['port']}"] if each["port"] else []), *each["names"]]
            yield f"  connections of {each['listener']} for {', '.join(place) or 'any name'}: {each['does']}"
        yield from _indented(1, (line for each in view["clusters"] for line in _cluster(each)))
    yield from _section("never reached, as it is written", told["unreachable"])
    yield from _section("not used by any of them", (f"{_named(each)}: {each['why']}" for each in told["unused"]))
    peers = (f"{each['workload']} port {each['port']}: {each['mode']} ({each['from']})" for each in told["peers"])
    yield from _section("what its workloads accept", peers)
    policies = (f"{_named(each)} selects {', '.join(each['workloads'])}" for each in told["policies"])
    yield from _section("policies of its workloads", policies)


def _named(each: Story) -> str:
    return (
        f"{each['kind']} {each['namespace']}/{each['name']}" if each["namespace"] else f"{each['kind']} {each['name']}"
    )


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    found = list(lines)
    if found:
        yield ""
        yield title
        yield from _indented(1, found)


def _indented(depth: int, lines: Iterable[str]) -> Iterator[str]:
    yield from (f"{'  ' * depth}{line}" for line in lines)


def _listener(each: Story) -> Iterator[str]:
    of = f" of {', '.join(each['gateways'])}" if each["gateways"] else ""
    yield f"listener {each['name']}{of}: {', '.join(each['hosts']) or 'no hosts'}"
    if each["redirects"]:
        yield f"  redirected to https: {', '.join(each['redirects'])}"
    yield from (f"  requests that no rule takes: {text}" for text in each["filters"])


def _host(each: Story) -> Iterator[str]:
    yield f"host {', '.join(each['hosts'])} on {', '.join(each['listeners']) or 'no listener'}"
    yield from _indented(1, (f"limit: {limit}" for limit in each["limits"]))
    for rule in each["rules"]:
        yield from _indented(1, _rule(rule))


def _rule(rule: dict[str, Any]) -> Iterator[str]:
    never = " NEVER USED" if rule["never"] else ""
    yield f"{rule['number']}. {rule['from']}{never}"
    for each in rule["clauses"]:
        yield f"   when {each['when']}" + (f" [never: {each['never']}]" if "never" in each else "")
    yield f"   {rule['does']}"
    yield from (f"   {text}" for text in rule["also"])


def _cluster(each: Story) -> Iterator[str]:
    yield f"destination {each['cluster']}" + (f" shaped by {each['from']}" if each["from"] else "")
    yield from _indented(1, each["policy"])
    for endpoint in each["endpoints"]:
        known = f" {endpoint['workload']} {endpoint['version']}" if endpoint["workload"] != "unknown" else ""
        weight = f" weight {endpoint['weight']}" if endpoint["weight"] != 1 else ""
        place = f" {endpoint['locality']}" if endpoint["locality"] else ""
        mtls = " mTLS" if endpoint["mtls"] else ""
        yield f"  endpoint {endpoint['address']}{known}{weight}{place}{mtls}"
    if not each["endpoints"]:
        yield "  no endpoints"
