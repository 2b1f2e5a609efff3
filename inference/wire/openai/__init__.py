"""OpenAI's requests and answers, read and written. No web framework here.

`fields` declares what each endpoint takes, and `reading` takes a request apart by it: a field is honoured or
refused, none is ignored. `answers` writes what is sent back, `refusals` what is not done.
"""
