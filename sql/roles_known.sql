-- Those of the roles that there are, whether each is a superuser, and which of the others' rights it has.
SELECT r.rolname, r.rolsuper,
       ARRAY(SELECT o.rolname FROM pg_roles AS o
              WHERE o.rolname = ANY (%(names)s) AND o.oid <> r.oid AND pg_has_role(r.oid, o.oid, 'MEMBER')) AS has
FROM pg_roles AS r
WHERE r.rolname = ANY (%(names)s);
