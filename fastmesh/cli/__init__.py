"""The command line: `fastmesh COMMAND`. A command's module is imported only when it runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any, Never

import click

import fastmesh
from fastmesh.errors import EXIT_USAGE, FastmeshError

INTERRUPTED = 130

COMMANDS = {  # name: what --help says; the module is fastmesh.cli.NAME, the command in it has the same name
    "proxy": "Run the mesh proxy or a gateway.",
    "validate": "Check files; exit 65 with every problem.",
    "analyze": "Find what does not fit each other; exit 79 with every issue.",
    "describe": "Show every rule that touches an object or a host.",
    "explain": "Say which rule decides a request, and what happens.",
    "capacity": "Say which service is overloaded at what rate.",
    "cert": "Make a local CA and certificates; show certificates.",
    "demo": "Run the shop of the article with traffic.",
}


class LazyGroup(click.Group):
    """Knows its commands by name; imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"fastmesh.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(  # type: ignore[override]  # it always exits
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Never:
        """Like click's, but usage errors exit with 64 (EX_USAGE), and expected failures as they say."""
        extra["standalone_mode"] = False
        try:
            code = super().main(args, prog_name or "fastmesh", **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            sys.exit(EXIT_USAGE)
        except click.UsageError as error:
            error.show()
            sys.exit(EXIT_USAGE)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except FastmeshError as error:
            click.echo(str(error), err=True)
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(INTERRUPTED)
        sys.exit(code if isinstance(code, int) else 0)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(fastmesh.__version__, prog_name="fastmesh")
def main() -> None:
    """A service mesh in one Python package: Istio's rules, nginx's speed, no cluster needed."""
