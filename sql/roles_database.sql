-- What the roles lack in this database, which everybody may do unless somebody revoked it, as the statements that grant it.
SELECT format('GRANT %s ON DATABASE %I TO %I', needed.privilege, current_database(), needed.role)
FROM unnest(
    ARRAY['CONNECT', 'CONNECT', 'CONNECT', 'TEMPORARY', 'TEMPORARY'],
    ARRAY[{owner}, {writer}, {reader}, {owner}, {writer}]::text[]
) AS needed (privilege, role)
WHERE NOT has_database_privilege(needed.role, current_database(), needed.privilege);
