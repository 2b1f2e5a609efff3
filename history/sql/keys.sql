-- The numbers of everything that was taken over from a source.
SELECT source_id FROM browser_performance WHERE source = $source ORDER BY source_id
