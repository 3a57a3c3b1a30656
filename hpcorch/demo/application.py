"""The program of the example: reads one tensor from each of the two databases and logs it."""

from hpcorch import *

single_shard_config = ConfigOptions.create_from_environment("single_shard_db_identifier")
single_shard_client = Client(single_shard_config, logger_name="Model: single shard logger")

multi_shard_config = ConfigOptions.create_from_environment("multi-shard-db-identifier")
multi_shard_client = Client(multi_shard_config, logger_name="Model: multi shard logger")

tensor_1 = single_shard_client.get_tensor("tensor_1")
tensor_2 = multi_shard_client.get_tensor("tensor_2")

single_shard_client.log_data(LLInfo, f"The single sharded db tensor is: {tensor_1}")
multi_shard_client.log_data(LLInfo, f"The clustered db tensor is: {tensor_2}")
