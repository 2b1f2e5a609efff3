-- Shards queued or running, per browser.
SELECT browser, COUNT(*)
FROM inference_runshard
WHERE state IN ('queued', 'running')
GROUP BY browser
