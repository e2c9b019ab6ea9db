-- Whether changes are to be tracked, and whether the triggers that see to it are on what source_abstract reads.
SELECT to_regproc('sum_assets.note_source_change') IS NOT NULL AS wanted,
       4 = (
           SELECT count(*) FROM pg_trigger AS t
           WHERE t.tgfoid = to_regproc('sum_assets.note_source_change') AND t.tgenabled IN ('O', 'A')
             AND EXISTS (
                   SELECT FROM pg_rewrite AS r
                   JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                   WHERE r.ev_class = to_regclass('sum_assets.source_abstract')
                     AND d.refclassid = 'pg_class'::regclass AND d.refobjid = t.tgrelid
               )
       ) AS works;
