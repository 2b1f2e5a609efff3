SELECT * FROM browser_performance ORDER BY timestamp, source, source_id
