-- The key of the model that is registered under a name.
SELECT id
FROM inference_onnxmodel
WHERE name = %s
