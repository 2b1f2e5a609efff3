-- How many runs of batch jobs are under way, and how many of them for one tenant.
SELECT COUNT(*), COALESCE(SUM(CASE WHEN tenant = %s THEN 1 ELSE 0 END), 0)
  FROM inference_run WHERE state = 'running' AND owner LIKE %s
