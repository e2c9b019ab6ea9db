-- Writer and reader get these rights and no others, on what is there and on what the owner makes later.
REVOKE ALL ON SCHEMA sum_assets, dagster FROM {writer}, {reader};
REVOKE ALL ON ALL TABLES IN SCHEMA sum_assets, dagster FROM {writer}, {reader};
REVOKE ALL ON ALL SEQUENCES IN SCHEMA sum_assets, dagster FROM {writer}, {reader};
GRANT USAGE ON SCHEMA sum_assets, dagster TO {writer}, {reader};
GRANT SELECT ON ALL TABLES IN SCHEMA sum_assets, dagster TO {writer}, {reader};
GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sum_assets, dagster TO {writer};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA sum_assets, dagster TO {writer};
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sum_assets TO {writer}, {reader};
-- Which version the tables have is the owner's to say.
REVOKE INSERT, UPDATE, DELETE ON sum_assets.schema_migration, dagster.alembic_version FROM {writer};

ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA sum_assets, dagster GRANT SELECT ON TABLES TO {writer}, {reader};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA sum_assets, dagster GRANT INSERT, UPDATE, DELETE ON TABLES TO {writer};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA sum_assets, dagster GRANT USAGE ON SEQUENCES TO {writer};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA sum_assets GRANT EXECUTE ON FUNCTIONS TO {writer}, {reader};
