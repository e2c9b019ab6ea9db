"""All that is Dagster: assets, resources, partitions, the instance and its storage."""
