"""The command line: exit codes, lazy commands, settings from flags and environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fastmesh.cli import COMMANDS, options, proxy
from fastmesh.server.settings import ProxySettings

ROOT = Path(__file__).resolve().parents[2]


def fastmesh(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastmesh", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **env},
        check=False,
        timeout=60,
    )


def test_help_lists_the_commands() -> None:
    said = fastmesh("--help")
    assert said.returncode == 0
    assert all(name in said.stdout for name in COMMANDS)
    assert fastmesh("--version").stdout.startswith("fastmesh, version ")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["proxy"],
        ["proxy", "-f", "x"],
        ["proxy", "-f", "x", "--listen", "nowhere"],
        ["proxy", "-f", "-", "--listen", "127.0.0.1:1"],
        ["proxy", "-f", "x", "--listen", "127.0.0.1:1", "--workers", "-1"],
        ["proxy", "-f", "x", "--listen", "127.0.0.1:1", "--labels", "app"],
    ],
)
def test_usage_errors_exit_64(arguments: list[str]) -> None:
    said = fastmesh(*arguments)
    assert said.returncode == 64
    assert said.stderr


def test_proxy_does_not_load_other_commands() -> None:
    code = "import sys, fastmesh.cli.proxy; print([m for m in sys.modules if m.startswith('fastmesh.demo')])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert said.stdout == "[]\n"


def test_worker_imports_only_what_runs() -> None:
    code = "import sys, fastmesh.server.worker; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = said.stdout.split()
    for heavy in (
        "yaml",
        "click",
        "h11",
        "prometheus_client",
        "cryptography",
        "fastmesh.config.store",
        "fastmesh.server.master",
    ):
        assert heavy not in loaded
    ours = {name for name in loaded if name.startswith("fastmesh.")}
    assert {".".join(name.split(".")[:3]) for name in ours if name.startswith("fastmesh.config.")} == {
        "fastmesh.config.plan"
    }


@pytest.mark.parametrize("row", options.rows(ProxySettings), ids=lambda row: row.flag.name)
def test_every_setting_has_a_flag_and_a_variable(row: options.Row) -> None:
    said = CliRunner().invoke(proxy.proxy, ["--help"], terminal_width=200).output
    assert row.flag.name.split("/")[0] in said
    assert row.variable in said


def collected(*arguments: str, env: dict[str, str] | None = None) -> ProxySettings:
    found: list[ProxySettings] = []

    @click.command()
    @proxy.proxy_options
    def command(preflight: bool, **given: object) -> int:
        found.append(proxy.checked(options.collect(ProxySettings, given)))
        return 0

    result = CliRunner().invoke(command, arguments, env=env, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return found[0]


def test_defaults_are_those_of_the_settings() -> None:
    assert collected("-f", "x", "--listen", "127.0.0.1:80") == ProxySettings(files=["x"], listen="127.0.0.1:80")


def test_flags_beat_the_environment() -> None:
    env = {
        "FASTMESH_FILE": "a.yaml b.yaml",
        "FASTMESH_LISTEN": "127.0.0.1:80",
        "FASTMESH_WORKERS": "3",
        "FASTMESH_STATUS": "127.0.0.1:15021 127.0.0.1:15090",
        "FASTMESH_MAX_HEAD": "16k",
        "FASTMESH_DRAIN_TIMEOUT": "7s",
        "FASTMESH_WATCH": "false",
        "FASTMESH_ACCESS_LOG": "-",
    }
    found = collected("--workers", "5", env=env)
    assert found.files == ["a.yaml", "b.yaml"]
    assert found.workers == 5
    assert found.status == ["127.0.0.1:15021", "127.0.0.1:15090"]
    assert found.worker.limits.head == 16384
    assert found.worker.drain_timeout_ms == 7000
    assert not found.watch
    assert found.worker.access_log == "-"


def test_env_file_beats_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTMESH_WORKERS", "3")
    monkeypatch.setenv("FASTMESH_NAMESPACE", "shop")
    file = tmp_path / "fastmesh.env"
    file.write_text("# comment\n\nexport FASTMESH_WORKERS='7'\n")
    found = collected("-f", "x", "--listen", "127.0.0.1:80", "--env-file", str(file))
    assert (found.workers, found.namespace) == (7, "shop")
    file.write_text("WORKERS=1\n")
    with pytest.raises(click.BadParameter, match=r"fastmesh\.env:1"):
        collected("-f", "x", "--listen", "127.0.0.1:80", "--env-file", str(file))
