"""What `hpcorch render model` and `ensemble` take, and the descriptions that they make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcorch.cli import render_colocation, render_pinning, render_settings, render_workers
from hpcorch.cli.words import refuse_alone, repeated, settled
from hpcorch.describe.ensemble import Ensemble
from hpcorch.describe.model import Model
from hpcorch.describe.strategies import NAMES

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_MODEL_EPILOG = """\
examples:
  hpcorch render model sim --colocate uds --use ./orchestrator -- ./solver --steps 100
  hpcorch render model sim --scheduler slurm --nodes 2 --tasks 64 --time 1:00:00 -- ./solver

Everything after -- is the program's own and reaches it byte for byte.
"""
_ENSEMBLE_EPILOG = """\
example: hpcorch render ensemble heat --param alpha=0.1,0.2 --param n=1,2 -o heat.sh -- ./sim

Members get their parameters as arguments: ./sim --alpha=0.1 -n 1, and so on; with --configure in
place of the markers of those files, such as ;alpha;. A member puts its files in place as it starts.
"""


def model_arguments(parser: ArgumentParser) -> None:
    """Declare what a model takes."""
    parser.epilog = _MODEL_EPILOG
    parser.add_argument("name", metavar="NAME", help="of the program in this experiment")
    repeated(parser, "--param", "NAME=VALUE", "a parameter of the files to configure")
    parser.add_argument(
        "--params-to-args", action="store_true", help="add them to the program's arguments"
    )
    parser.add_argument(
        "--key-prefix", action="store_true", help="let the program's keys begin with its name"
    )
    _common(parser)
    render_pinning.arguments(parser)


def ensemble_arguments(parser: ArgumentParser) -> None:
    """Declare what an ensemble takes."""
    parser.epilog = _ENSEMBLE_EPILOG
    parser.set_defaults(explain_pinning=False)
    parser.add_argument("name", metavar="NAME", help="of the ensemble in this experiment")
    repeated(parser, "--param", "NAME=VALUE[,VALUE...]", "a parameter and its values")
    parser.add_argument("--replicas", type=int, metavar="N", help="members of each combination")
    parser.add_argument("--strategy", default="all_perm", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument(
        "--members", type=int, default=0, metavar="N", help="how many the strategy random draws"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the strategy random")
    parser.add_argument("--max-running", type=int, metavar="N", help="members at once")
    parser.add_argument(
        "--no-key-prefix", action="store_true", help="let all members write the same keys"
    )
    _common(parser)


def _common(parser: ArgumentParser) -> None:
    repeated(parser, "--use", "DIR[:ID]", "run directory of a database to connect to")
    repeated(parser, "--incoming", "NAME", "a model whose keys it may read")
    render_settings.arguments(parser)
    render_colocation.arguments(parser)
    render_workers.attachment_arguments(parser)


def described_model(args: Namespace) -> Model:
    """Return the model that was asked for; raises InputError."""
    model = Model(
        args.name,
        render_settings.run_settings(args),
        settled("--param", args.param),
        args.path,
        render_settings.batch_settings(args),
        args.key_prefix,
    )
    refuse_alone(args, ["--params-to-args"], "parameters", "--param")
    if args.params_to_args:
        model.params_to_args()
    render_colocation.colocate(args, [model])
    _equip(args, model)
    return model


def described_ensemble(args: Namespace) -> Ensemble:
    """Return the ensemble that was asked for; raises InputError."""
    params = {key: word.split(",") for key, word in settled("--param", args.param).items()}
    ensemble = Ensemble(
        args.name,
        params,
        render_settings.batch_settings(args),
        render_settings.run_settings(args),
        args.replicas,
        args.strategy,
        args.path,
        [] if args.configure else list(params),
        args.members,
        args.seed,
        args.max_running,
    )
    if args.no_key_prefix:
        ensemble.disable_key_prefixing()
    render_colocation.colocate(args, ensemble if args.colocate else ())
    _equip(args, ensemble)
    return ensemble


def _equip(args: Namespace, entity: Model | Ensemble) -> None:
    for name in args.incoming:
        entity.register_incoming_entity(_Elsewhere(name))
    render_settings.attach_files(args, entity)
    render_workers.attach(args, entity)


class _Elsewhere:
    """A program that somebody else describes; its keys are told by its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.member_names = [name]
