-- The rights on source_abstract that others than its owner have, as the statements that grant them.
SELECT format(
    'GRANT %s ON sum_assets.source_abstract TO %s%s',
    acl.privilege_type,
    CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END,
    CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
)
FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS acl
WHERE c.oid = to_regclass('sum_assets.source_abstract') AND acl.grantee <> c.relowner;
