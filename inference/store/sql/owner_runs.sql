-- How many runs of one owner are under way.
SELECT COUNT(*)
FROM inference_run
WHERE state = 'running' AND owner = %s
