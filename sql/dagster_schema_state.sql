-- Whether Dagster's schema and its tables are there, whether this role may use the schema, and make what is missing.
SELECT n.oid IS NOT NULL AS has_schema,
       EXISTS (SELECT FROM pg_class AS c WHERE c.relnamespace = n.oid AND c.relname = 'event_logs') AS has_tables,
       coalesce(has_schema_privilege(n.oid, 'USAGE'), false) AS may_use,
       NOT current_setting('transaction_read_only')::boolean AND CASE
           WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
           ELSE has_schema_privilege(n.oid, 'CREATE')
       END AS may_create
FROM (SELECT to_regnamespace(%(schema)s)::oid AS oid) AS n;
