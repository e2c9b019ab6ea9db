-- Whoever has the default rights on tables may not write through source_abstract: the statements that see to it.
SELECT DISTINCT format(
    'REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON sum_assets.source_abstract FROM %s',
    CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END
)
FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS acl
WHERE c.oid = to_regclass('sum_assets.source_abstract') AND acl.grantee <> c.relowner;
