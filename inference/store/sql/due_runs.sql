-- Of the runs under way, how many have passed their deadline, and how many are older than a moment.
SELECT
    COUNT(CASE WHEN deadline_at <= %s THEN 1 END),
    COUNT(CASE WHEN created_at < %s THEN 1 END)
FROM inference_run
WHERE state = 'running'
