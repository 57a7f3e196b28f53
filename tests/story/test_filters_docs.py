"""The example of docs/filters.md does what the page says, and what may not run does not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.running import REPOSITORY
from tests.traffic import Replica, Request, Story, ask, replicas_of, stats, thing

PAGE = (REPOSITORY / "docs/filters.md").read_text()
CODE = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]
OBJECTS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]


def product(request: Request) -> bytes:
    body = json.dumps({"name": "pen", "price": 3}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


def fastmesh(*words: object) -> tuple[int, str]:
    command = [sys.executable, "-m", "fastmesh", *map(str, words)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "filters").mkdir()
    (tmp_path / "filters/shop_filters.py").write_text(CODE)
    (tmp_path / "mesh.yaml").write_text(replicas_of("product", 1) + "---\n" + OBJECTS)
    return tmp_path


def test_the_example(folder: Path) -> None:
    code = str(folder / "filters")
    with Replica("product", product) as app:
        yaml = replicas_of("product", app.port) + "---\n" + OBJECTS
        with Story(folder, yaml, "--filter-path", code) as story:
            asked = {"host": "product"}
            refused = ask(story.proxy, "/public/pen", **asked)
            assert (refused.status, refused.body, refused.headers["www-authenticate"]) == (401, b"who are you?", "Key")
            assert app.seen == []
            public = ask(story.proxy, "/public/pen", x_api_key="k-123", **asked)
            assert json.loads(public.body) == {"name": "pen"}
            assert app.last.headers["x-user"] == "anna"
            assert "x-api-key" not in app.last.headers
            assert public.headers["server-timing"].startswith("endpoint;dur=")
            assert json.loads(ask(story.proxy, "/pen", x_api_key="k-123", **asked).body)["price"] == 3
            assert stats(story.proxy, "^filter.answered$") == {"filter.answered": 1}


def test_validate_says_how_far_it_looked(folder: Path) -> None:
    mesh, code = folder / "mesh.yaml", folder / "filters"
    status, said = fastmesh("validate", mesh)
    assert (status, "2 filters: their code was not looked at" in said) == (0, True)
    (code / "shop_filters.py").write_text(CODE + "\nopen('it-ran', 'w').close()\nraise RuntimeError('no')\n")
    status, said = fastmesh("validate", mesh, "--filter-path", code)
    assert (status, "was not run (--import-filters)" in said) == (0, True)
    assert not (REPOSITORY / "it-ran").exists()
    status, said = fastmesh("validate", mesh, "--filter-path", code, "--import-filters")
    (REPOSITORY / "it-ran").unlink()
    assert status == 65
    why = r"Filter/api-key: spec\.function: the import of shop_filters failed: RuntimeError: no"
    assert re.search(rf"{mesh}:\d+: {why}", said), said
    assert fastmesh("validate", mesh, "--import-filters")[0] == 64


def test_explain_shows_filters_without_their_code(tmp_path: Path) -> None:
    mesh = tmp_path / "mesh.yaml"
    mesh.write_text(replicas_of("product", 1) + "---\n" + OBJECTS)
    status, said = fastmesh("explain", "-f", mesh, "GET", "http://product/public/pen")
    assert status == 0
    assert "default/api-key (runs shop_filters:ApiKey, 200 ms a call; fails closed)" in said
    assert "default/hide-prices (runs shop_filters:HidePrices, 50 ms a call; fails open)" in said
    assert "hide-prices" not in fastmesh("explain", "-f", mesh, "GET", "http://product/pen")[1]


@pytest.mark.parametrize(
    ("function", "flags", "why"),
    [
        ("shop_filters:ApiKey", [], "start the proxy with --filter-path"),
        ("os:system", ["filters"], "is a module of Python's or of fastmesh"),
        ("msgspec:Struct", ["filters"], "there is no msgspec.py in"),
        ("shop_filters:Other", ["filters"], "has no Other"),
        ("broken:Filter", ["filters"], "broken.py:2: invalid syntax"),
        ("raises:Filter", ["filters"], "the import of raises failed: ZeroDivisionError"),
        ("raises_later:Filter", ["filters"], "raises_later:Filter failed: KeyError: 'wanted'"),
        ("no_hooks:Filter", ["filters"], "without a hook; hooks are request_head"),
        ("leaves:Filter", ["filters"], "the import of leaves failed: SystemExit"),
    ],
)
def test_what_may_not_or_cannot_run_ends_the_start(folder: Path, function: str, flags: list[str], why: str) -> None:
    code = folder / "filters"
    (code / "broken.py").write_text("\ndef Filter(:\n")
    (code / "raises.py").write_text("Filter = 1 / 0\n")
    (code / "raises_later.py").write_text("def Filter(config):\n    return config['wanted']\n")
    (code / "no_hooks.py").write_text("class Filter:\n    def __init__(self, config): pass\n")
    (code / "leaves.py").write_text("import sys\nclass Filter: pass\nsys.exit(0)\n")
    mesh = folder / "mesh.yaml"
    mesh.write_text(replicas_of("a", 1) + thing("Filter", "f", {"function": function}, "fastmesh.io/v1alpha1"))
    paths = [word for flag in flags for word in ("--filter-path", folder / flag)]
    listen = ["--listen", f"127.0.0.1:{free_port()}", "--admin", "off", "--workers", "1"]
    status, said = fastmesh("proxy", "-f", mesh, *listen, *paths)
    assert (status, why in said) == (78, True), said
    assert f"{mesh}:" in said
    assert "Filter/f: spec.function" in said


def test_a_folder_that_everybody_may_write_to(folder: Path) -> None:
    (folder / "filters").chmod(0o777)
    listen = ["--listen", f"127.0.0.1:{free_port()}", "--admin", "off"]
    status, said = fastmesh("proxy", "-f", folder / "mesh.yaml", *listen, "--filter-path", folder / "filters")
    assert (status, "everybody may write into" in said) == (64, True)
