-- The server and this session's settings, as far as they decide whether runs work.
SELECT current_setting('server_version') AS version,
       current_user AS role,
       pg_is_in_recovery() AS is_standby,
       current_setting('transaction_read_only')::boolean AS is_read_only,
       current_setting('server_encoding') AS encoding,
       current_setting('fsync')::boolean AS fsync,
       (SELECT setting::bigint FROM pg_settings WHERE name = 'statement_timeout') AS statement_timeout_ms,
       current_setting('max_connections')::integer
           - current_setting('superuser_reserved_connections')::integer
           - (SELECT count(*)::integer FROM pg_stat_activity WHERE backend_type = 'client backend') AS free_connections,
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS connection_limit;
