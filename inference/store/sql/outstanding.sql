-- Shards queued or running, per browser.
SELECT browser, COUNT(*)
FROM inference_runstep
WHERE state IN ('ready', 'queued', 'running') -- as the index has it: SQLite would not find it otherwise
AND state <> 'ready'
GROUP BY browser
