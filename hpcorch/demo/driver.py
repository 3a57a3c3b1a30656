"""The driver of the example: run it with any Python that has hpcorch, or as `hpcorch demo`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from hpcorch import Client, Experiment, get_logger

NAME = "getting-started-multidb"


def main(directory: str = ".") -> None:
    """Start two databases, share tensors with two colocated programs, stop, and summarise.

    The experiment's directory is made in `directory`.
    """
    logger = get_logger("Multidb Experiment Log")
    exp = Experiment(NAME, exp_path=Path(directory, NAME), launcher="auto")

    single_shard_db = exp.create_database(
        port=6379, db_nodes=1, db_identifier="single_shard_db_identifier"
    )
    exp.generate(single_shard_db, overwrite=True)
    multi_shard_db = exp.create_database(
        port=6380, db_nodes=3, db_identifier="multi-shard-db-identifier"
    )
    exp.generate(multi_shard_db, overwrite=True)
    exp.start(single_shard_db, multi_shard_db)

    single = Client(
        cluster=False,
        address=single_shard_db.get_address()[0],
        logger_name="Single shard db logger",
    )
    multi = Client(
        cluster=True, address=multi_shard_db.get_address()[0], logger_name="Multi shard db logger"
    )
    single.put_tensor("tensor_1", np.array([1, 2, 3, 4]))
    multi.put_tensor("tensor_2", np.array([5, 6, 7, 8]))

    wrong_single = single.key_exists("tensor_2")
    wrong_multi = multi.key_exists("tensor_1")
    logger.info(f"The multi shard array key exists in the incorrect database: {wrong_single}")
    logger.info(f"The single shard array key exists in the incorrect database: {wrong_multi}")

    application = str(Path(__file__).with_name("application.py"))
    model_settings = exp.create_run_settings(exe=sys.executable, exe_args=[application])
    model_settings.set_nodes(1)
    model_settings.set_tasks_per_node(1)
    model = exp.create_model("tutorial_model", model_settings)
    model.colocate_db_tcp()
    exp.generate(model, overwrite=True)
    exp.start(model, block=True)
    print(Path(exp.exp_path, "tutorial_model", "tutorial_model.out").read_text(), end="")

    echo_settings = exp.create_run_settings("echo", exe_args="Hello World")
    echo_model = exp.create_model("colo_model", echo_settings)
    echo_model.colocate_db_uds()
    exp.start(echo_model, block=True)
    print(Path(exp.exp_path, "colo_model", "colo_model.out").read_text(), end="")

    exp.stop(single_shard_db, multi_shard_db)
    logger.info("\n" + exp.summary())


if __name__ == "__main__":
    main()
