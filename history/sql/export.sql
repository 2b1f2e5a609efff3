-- Samples as they are kept; every filter may be NULL.
SELECT *
FROM browser_performance
WHERE ($browser::VARCHAR IS NULL OR browser = $browser)
  AND ($model_type::VARCHAR IS NULL OR model_type = $model_type)
  AND ($model_name::VARCHAR IS NULL OR model_name = $model_name)
  AND ($since::TIMESTAMP IS NULL OR timestamp >= $since)
ORDER BY timestamp, source, source_id
