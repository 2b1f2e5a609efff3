-- Whether a model is registered.
SELECT 1 FROM inference_onnxmodel LIMIT 1
