-- Whether writes to a table are all seen by statement triggers on it, and whether this role has its owner's rights.
SELECT NOT EXISTS (SELECT FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent))
       AND NOT EXISTS (SELECT FROM pg_subscription_rel WHERE srrelid = c.oid) AS sees_all,
       pg_has_role(c.relowner, 'USAGE') AS is_owner,
       pg_get_userbyid(c.relowner) AS owner
FROM pg_class AS c
WHERE c.oid = %s;
