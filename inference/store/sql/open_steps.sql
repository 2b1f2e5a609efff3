-- Steps that may be claimed, or are, by kind, state and browser; how many of them were queued before a moment.
SELECT kind, state, browser, COUNT(*), COUNT(CASE WHEN queued_at < %s THEN 1 END)
FROM inference_runstep
WHERE state IN ('ready', 'queued', 'running')
GROUP BY kind, state, browser
