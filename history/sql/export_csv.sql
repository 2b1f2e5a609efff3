-- As export.sql, and in each row how many there are: a CSV file cannot tell otherwise that it was cut.
SELECT *, count(*) OVER () AS rows_in_file
FROM browser_performance
WHERE ($browser::VARCHAR IS NULL OR browser = $browser)
  AND ($model_type::VARCHAR IS NULL OR model_type = $model_type)
  AND ($model_name::VARCHAR IS NULL OR model_name = $model_name)
  AND ($since::TIMESTAMP IS NULL OR timestamp >= $since)
ORDER BY timestamp, source, source_id
