"""A small package with random weights, and a real server of it on a free port of this machine."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn
from flax import nnx

from millrace.data.tokenizer import tokenizer as tokenizers
from millrace.data.tokenizer import training as tokenizer_training
from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder
from millrace.model.package import package as packages
from millrace.pipelines.serve import app as serve_app
from millrace.pipelines.serve import run as serve_run
from millrace.pipelines.serve import served as serve_served
from millrace.pipelines.serve.http.connections import Connection


@dataclass
class RunningServer:
    """A server in a thread of this process."""

    url: str
    served: serve_served.Served
    uvicorn: uvicorn.Server

    def client(self, token: str = "unused") -> openai.OpenAI:
        """The real client, without retries, so that errors show at once."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=token, max_retries=0, timeout=30)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of a random decoder, sharp enough that its greedy answers do not hang on rounding."""
    folder = tmp_path_factory.mktemp("package")
    text = Path(tokenizers.__file__).read_text()
    special = tokenizers.CHAT_TOKENS
    model = tokenizer_training.train(
        [text], vocab_size=420, algorithm="bpe", special=special, character_coverage=0.9995
    )
    tokenizer = tokenizers.write(folder, model, special, {})
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        layers=2,
        model_size=32,
        heads=4,
        kv_heads=1,
        head_size=8,
        feed_forward_size=64,
        max_sequence_tokens=128,
    )
    decoder = Decoder(config, rngs=nnx.Rngs(3))
    decoder.embedding[...] = decoder.embedding[...] * 6
    packages.write_weights(folder, config, decoder, group_size=16, embedding_bits=8)
    packages.seal(folder, {"name": "tiny"})
    return folder


def start(
    served: serve_served.Served, *, connection: type[Connection] = Connection, **options: object
) -> RunningServer:
    """Starts a server on a free port and waits until it listens."""
    listener = serve_run.bind("127.0.0.1", 0)
    app = serve_app.make_app(served, **options)  # type: ignore[arg-type]
    server = uvicorn.Server(serve_run.configured(app, connection))
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return RunningServer(f"http://127.0.0.1:{listener.getsockname()[1]}", served, server)


def stop(server: RunningServer) -> None:
    """Asks a server to end and waits until its port is closed."""
    server.uvicorn.should_exit = True
    while server.uvicorn.servers and any(listener.is_serving() for listener in server.uvicorn.servers):
        time.sleep(0.01)


@pytest.fixture(scope="session")
def decoder(package: Path) -> Decoder:
    """The package's model on its own."""
    return packages.Package.open(package).decoder("float32")


@pytest.fixture
def launch(package: Path) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers of the package, with the options of ``start``, for the time of a test."""
    running: list[RunningServer] = []

    def launched(**options: Any) -> RunningServer:
        running.append(start(serve_served.load(package, rows=1, warm_up=False), **options))
        return running[-1]

    yield launched
    for one in running:
        stop(one)


@pytest.fixture(scope="session")
def server(package: Path) -> Iterator[RunningServer]:
    """A server without a token."""
    running = start(serve_served.load(package, rows=2, warm_up=False), max_waiting=8)
    yield running
    stop(running)


@pytest.fixture(scope="session")
def guarded(package: Path) -> Iterator[RunningServer]:
    """A server that asks for the token ``secret`` and takes bodies of 2,000 bytes and few requests."""
    served = serve_served.load(package, rows=1, warm_up=False)
    running = start(served, token="secret", max_body_bytes=2000, max_waiting=8)
    yield running
    stop(running)


@pytest.fixture
def copied(package: Path, tmp_path: Path) -> Path:
    """A copy of the package that a test may damage."""
    return Path(shutil.copytree(package, tmp_path / "copied"))
