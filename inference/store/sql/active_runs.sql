-- How many runs are under way.
SELECT COUNT(*)
FROM inference_run
WHERE state = 'running'
