"""A toy for several hosts: each tells the others its number, and host 0 writes what all have told."""

from __future__ import annotations

import os
import signal

from pydantic import Field

from millrace.components.contract import Component, Config, Context, Inputs, Port, runtime


class HostsConfig(Config):
    """Which host dies, once."""

    add: str = Field("", description="What to append.")
    dies: int = runtime(-1)


def run(context: Context, config: HostsConfig, inputs: Inputs) -> None:
    """Gathers the numbers."""
    import numpy as np

    from millrace.model.devices import hosts

    context.log.info("this is host %d", context.host)
    told = hosts.every(np.asarray(context.host, np.int32)).tolist()
    mark = context.work / "died"
    if context.host == config.dies and not mark.exists():
        mark.write_bytes(b"")
        os.kill(os.getpid(), signal.SIGKILL)
    if context.host == 0:
        context.metric("hosts", len(told))
        (context.output("documents") / "part-0").write_text(f"{told}{config.add}")


COMPONENT = Component(
    name="toy_hosts",
    summary="Writes the numbers of its hosts.",
    config=HostsConfig,
    outputs={"documents": Port("documents", "A text.")},
    run="millrace.components.toy_hosts:run",
    several_hosts=True,
)
