"""`python -m hpcorch.inference`: what job scripts run on compute nodes.

serve       be a model worker of the database in SSDB, SR_DB_TYPE and HPCORCH_CREDENTIALS
load        store the models and scripts of a list in that database, and let all workers load them
frameworks  print as JSON which frameworks this Python has
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path

from hpcorch.errors import HpcorchError
from hpcorch.inference import backends
from hpcorch.inference.manifest import load
from hpcorch.inference.worker import WorkerOptions, serve

_FORMAT = "%(asctime)s %(message)s"


def main(words: list[str] | None = None) -> int:
    """Do what the words say; return the exit code."""
    args = _parser().parse_args(words)
    logging.basicConfig(level=logging.INFO, format=_FORMAT, datefmt="%H:%M:%S")
    if args.verb == "frameworks":
        sys.stdout.write(json.dumps(backends.frameworks()) + "\n")
        return 0
    try:
        if args.verb == "load":
            load(Path(args.manifest))
        else:
            serve(_options(args))
    except HpcorchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _options(args: argparse.Namespace) -> WorkerOptions:
    return WorkerOptions(
        name=args.name,
        shard=args.shard,
        socket=Path(args.socket),
        host=args.host,
        ready=Path(args.ready),
        threads=args.threads or _threads(args.share),
        turn=args.turn,
        max_request=args.max_request,
        max_memory=args.max_memory or 2 * args.max_request,
    )


def _threads(share: int) -> int:
    """Return this worker's part of the CPUs that it may use together with others."""
    allowed = getattr(os, "sched_getaffinity", None)
    cpus = len(allowed(0)) if allowed else os.cpu_count() or 1
    return max(1, cpus // share)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hpcorch.inference")
    verbs = parser.add_subparsers(dest="verb", required=True)
    worker = verbs.add_parser("serve")
    worker.add_argument("--name", required=True)
    worker.add_argument("--shard", default="")
    worker.add_argument("--socket", required=True)
    worker.add_argument("--host", default="")
    worker.add_argument("--ready", required=True)
    worker.add_argument("--threads", type=int, default=0)
    worker.add_argument("--share", type=int, default=1)
    worker.add_argument("--turn", type=int, default=0)
    worker.add_argument("--max-request", type=int, default=1 << 30)
    worker.add_argument("--max-memory", type=int, default=0)
    loader = verbs.add_parser("load")
    loader.add_argument("manifest")
    verbs.add_parser("frameworks")
    return parser


if __name__ == "__main__":
    sys.exit(main())
