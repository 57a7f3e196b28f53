"""`fastmesh analyze`: what does not fit each other, by its cause, with Istio's numbers where they mean the same."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from fastmesh.config.analysis.causes import CAUSES
from fastmesh.config.analysis.engine import analyze as find
from fastmesh.config.read.load import load
from fastmesh.config.resource import Resource
from fastmesh.errors import EXIT_ISSUES, EXIT_OK, Problem, Severity
from fastmesh.model.kubernetes import Secret

_LEVELS: tuple[Severity, ...] = ("error", "warning", "note")
_FIELDS = ("file", "line", "kind", "namespace", "name", "field", "message")


@click.command(short_help="Find what does not fit each other; exit 79 with every issue.")
@click.option("-f", "--file", "files", multiple=True, metavar="PATH", help="A file, a folder, or - (repeatable).")
@click.option(
    "--failure-threshold", "threshold", type=click.Choice(_LEVELS), default="warning", show_default=True,
    help="The least severity that ends with 79.",
)  # fmt: skip
@click.option(
    "-S", "--suppress", "suppressed", multiple=True, metavar="CAUSE=KIND NAME[.NAMESPACE]",
    help='Do not tell this, as in "IST0118=Service web.shop"; * is any text (repeatable).',
)  # fmt: skip
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.argument("more", nargs=-1, metavar="[PATH]...")
def analyze(
    files: tuple[str, ...], threshold: Severity, suppressed: tuple[str, ...], output: str, more: tuple[str, ...]
) -> None:
    """Find what is wrong in files and what does not fit each other. Ends with 0, or with 79 when something was found.

    An object says itself with the annotation galley.istio.io/analyze-suppress which causes are not told of it.
    """
    paths = [*files, *more]
    if not paths:
        raise click.UsageError("nothing to analyze, name a file or directory: -f PATH")
    loaded = load(paths)
    found = find(loaded, [_suppressed(text) for text in suppressed], check_credential)
    told = [problem for problem in found if problem.code != "skipped"]
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(_verdict(told)), indent=2))
    else:
        click.echo("\n".join(_text(told, len(loaded.files))))
    failed = any(_LEVELS.index(problem.severity) <= _LEVELS.index(threshold) for problem in told)
    sys.exit(EXIT_ISSUES if failed else EXIT_OK)


def check_credential(secret: Resource[Secret]) -> str:
    """What is wrong with the certificate and the key of a Secret of a server; nothing when they can be used."""
    from fastmesh.security import certs, pem  # a library that most analyses do not need
    from fastmesh.security.findings import MaterialError
    from fastmesh.security.times import utc_now

    names = secret.spec.names()
    for pair in (("tls.crt", "tls.key"), ("cert", "key")):
        if pair[0] in names or pair[1] in names:
            break
    missing = [name for name in pair if name not in names]
    if missing:
        return f"lacks {' and '.join(missing)}"
    try:
        chain = pem.certificates(secret.spec.entry(pair[0]))
        key = pem.private_key(secret.spec.entry(pair[1]))
    except (MaterialError, ValueError) as error:
        return str(error)
    late = certs.out_of_time(chain[0], utc_now())
    wrong = [each.text for each in (*certs.check_leaf(chain, utc_now()), *certs.check_key(chain, key)) if each.fatal]
    return next(iter([late, *wrong] if late else wrong), "")


def _suppressed(text: str) -> tuple[str, str]:
    cause, equals, pattern = text.partition("=")
    if cause not in CAUSES or not equals or " " not in pattern:
        raise click.UsageError(f"--suppress {text}: write CAUSE=KIND NAME.NAMESPACE, as in IST0118=Service web.shop")
    return cause, pattern


def _grouped(found: list[Problem]) -> dict[str, list[Problem]]:
    """By cause, the worst first."""
    groups: dict[str, list[Problem]] = {}
    for problem in sorted(found, key=lambda problem: (_LEVELS.index(problem.severity), problem.cause)):
        groups.setdefault(problem.cause, []).append(problem)
    return groups


def _verdict(found: list[Problem]) -> dict[str, Any]:
    return {
        "issues": len(found),
        "causes": [
            {
                "cause": cause,
                "name": CAUSES[cause].name,
                "severity": CAUSES[cause].severity,
                "issues": [{name: getattr(problem, name) for name in _FIELDS} for problem in group],
            }
            for cause, group in _grouped(found).items()
        ],
    }


def _text(found: list[Problem], files: int) -> list[str]:
    if not found:
        return [f"nothing found in {files} files"]
    lines = []
    for cause, group in _grouped(found).items():
        lines.append(f"{cause} {CAUSES[cause].name} ({CAUSES[cause].severity}): {len(group)}")
        lines += [f"  {_line(problem)}" for problem in group]
    return lines


def _line(problem: Problem) -> str:
    """As everywhere, without the severity, which is that of the cause."""
    return str(msgspec.structs.replace(problem, severity="error"))
