SELECT (SELECT count(*) FROM sum_assets.generated_summary),
       (SELECT count(*) FROM sum_assets.rejected_abstract),
       (SELECT count(*) FROM sum_assets.abstract_summary);
