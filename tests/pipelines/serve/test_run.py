"""Starting the server: addresses, tokens and the end by Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from millrace.model.package.package import PackageError
from millrace.pipelines.serve.run import ServeError, bind, serve


def test_a_taken_port_is_said_before_the_model_loads(tmp_path: Path) -> None:
    """The message names host, port and the way out; a bad package has its own."""
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=f"127.0.0.1 port {port} .*--port"):
            serve(tmp_path, port=port)
    with pytest.raises(ServeError, match="port 99999"):
        serve(tmp_path, port=99_999)
    with pytest.raises(PackageError, match="expected a model package"):
        serve(tmp_path, port=0)


def test_an_open_address_makes_up_a_token_and_ctrl_c_ends_cleanly(package: Path) -> None:
    """The whole life of ``serve`` as a process on 0.0.0.0."""
    code = (
        "import sys; from pathlib import Path; from millrace.pipelines.serve.run import serve;"
        "serve(Path(sys.argv[1]), host='0.0.0.0', port=0, rows=1, weights='int4',"
        " announce=lambda line: print(line, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(package)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    first, second = process.stdout.readline(), process.stdout.readline()
    url = f"http://127.0.0.1:{first.strip().rpartition(':')[2]}/models"
    token = second.rpartition(": ")[2].strip()
    assert len(token) >= 40
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url)
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request) as response:
        assert json.load(response)["data"][0]["id"] == "tiny"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "stopped\n", "")
