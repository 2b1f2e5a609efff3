"""Language models as they are published, read and written as ONNX with a cache."""
