"""The Open Inference Protocol's requests and responses, JSON and binary. No web framework here.

A body is a JSON object, or, with the binary extension, a JSON object followed by raw tensors in the order
in which the JSON names them; the header `Inference-Header-Content-Length` then says where the JSON ends.
Raw tensors are little-endian in C order; a bool is one byte; BYTES is, per element, a uint32 length and
then UTF-8.

JSON has neither NaN nor infinity: they are refused in both directions, and pass in binary form.

`reading` takes a request apart, `writing` puts a response together, `tensors` knows one tensor.
"""
