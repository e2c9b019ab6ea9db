DELETE FROM sum_assets.abstract_summary AS p
WHERE p.abstract_id BETWEEN %(lo)s AND %(hi)s
  AND NOT EXISTS (
        SELECT FROM sum_assets.generated_summary AS g
        WHERE g.fingerprint = %(fingerprint)s
          AND g.abstract_id = p.abstract_id
          AND g.abstract_id IN (
                SELECT abstract_id FROM sum_assets.source_abstract WHERE abstract_id BETWEEN %(lo)s AND %(hi)s
            )
    );
