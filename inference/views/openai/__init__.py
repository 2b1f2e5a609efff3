"""`/v1`: OpenAI's protocol, each field honoured or refused."""
