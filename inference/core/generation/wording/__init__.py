"""What tokens say: bytes and words, stop texts, tools, grammars, chat templates; in one answer at last."""
