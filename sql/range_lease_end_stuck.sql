-- The sessions that keep a process of the server waiting and have themselves done nothing for some seconds. Those that
-- this role may end are ended.
SELECT a.pid, a.usename, a.application_name,
       CASE WHEN pg_has_role(a.usesysid, 'MEMBER') THEN pg_terminate_backend(a.pid) ELSE false END AS ended
FROM pg_stat_activity AS a
WHERE a.pid = ANY (pg_blocking_pids(%(waiting)s))
  AND coalesce(a.state_change < clock_timestamp() - make_interval(secs => %(seconds)s), true);
