"""`deepfake-tf app`: the model server and the web page together, one address, one Ctrl-C."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import sys
import time

from deepfake_tf.provenance.content_credentials import check_trust_list
from deepfake_tf.server import PACKAGES
from deepfake_tf.server.addresses import reachable
from deepfake_tf.server.background import free_port, running, running_server, wait_until_it_answers
from deepfake_tf.server.signals import interrupted_by_signals
from deepfake_tf.shipped import page_file


@dataclasses.dataclass(frozen=True)
class AppOptions:
    """What the page shows, and where."""

    model: str | None = None  # as for `serve`
    engine: str = "auto"  # as for `serve`
    url: str | None = None  # a model server that runs already; None: DEEPFAKE_TF_URL, else one is started
    host: str = "127.0.0.1"  # address of the page; the model server is reached from this machine alone
    port: int = 0  # of the page; 0: a free one


def run_app(options: AppOptions) -> None:
    """Start both, print the page's address on stdout, and end both on Ctrl-C or SIGTERM. Call it from the main thread.

    Raises:
        FileNotFoundError: no model.
        ValueError: the trust list cannot be read.
        ModuleNotFoundError: a package of the extra `app` is not installed.
        OSError: one of the two did not start, or ended by itself; with what it printed.
    """
    for package in PACKAGES:  # told here, not in a child's log
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    check_trust_list()  # of the page, for what files say of themselves
    with interrupted_by_signals(), contextlib.ExitStack() as stack:
        url = options.url or os.environ.get("DEEPFAKE_TF_URL")
        children = []
        if not url:
            server = stack.enter_context(running_server(options.model, options.engine))
            children, url = [server.child], server.rest
        port = options.port or free_port(options.host)
        environment = {"DEEPFAKE_TF_URL": url}
        if options.model is not None:  # for its card, which no server answers
            environment["DEEPFAKE_TF_MODEL"] = str(options.model)
        children.append(stack.enter_context(running(_page_command(options.host, port), environment)))
        address = f"http://{reachable(options.host)}:{port}"
        wait_until_it_answers(f"{address}/_stcore/health", children[-1], "the page")
        print(address, flush=True)
        while all(child.process.poll() is None for child in children):
            time.sleep(0.2)
        ended = next(child for child in children if child.process.poll() is not None)
        raise OSError(f"{ended.output()}\nit ended by itself, so that the page was closed")


def _page_command(host: str, port: int) -> list[str]:
    options = [f"--server.address={host}", f"--server.port={port}", "--server.headless=true"]
    return [sys.executable, "-m", "streamlit", "run", str(page_file()), *options]
