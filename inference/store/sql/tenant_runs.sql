-- How many runs are under way for one tenant, texts among them; each standby of a text counts as one more.
SELECT (SELECT COUNT(*) FROM inference_run WHERE state = 'running' AND tenant = %s)
     + (SELECT COALESCE(SUM(1 + CAST(COALESCE(asked ->> 'standbys', '0') AS integer)), 0)
          FROM inference_generationsession WHERE state = 'running' AND owner = %s)
