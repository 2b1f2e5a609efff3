-- How many runs of one owner are under way, texts among them.
SELECT (SELECT COUNT(*) FROM inference_run WHERE state = 'running' AND owner = %s)
     + (SELECT COUNT(*) FROM inference_generationsession WHERE state = 'running' AND owner = %s)
