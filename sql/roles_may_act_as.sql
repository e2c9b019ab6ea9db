-- Whether this role may take the other's place.
SELECT pg_has_role(%s, CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END);
