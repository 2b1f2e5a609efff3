"""From what a caller sent to an array of a port's type: exactly, or refused. Every door comes through here.

`exact.array_of` takes nested lists or a numpy array. Of what it refuses it says which value it is, and where.
What passes, by the port's type:

- integers: whole numbers within the type's range. Nothing else becomes one: no 2.0, no true, no "2".
- floats: a float is rounded to the port's type, as a literal is, and stays finite. A whole number must be one
  that the type holds. In JSON it may also be the digits with which such a float is written: JSON knows one
  kind of number, JavaScript and Go write the float 2**69 as 590295810358705700000, and a protocol in JSON
  that refused them could not carry floats. NaN and infinity pass, except from JSON, which has neither.
- bool: true and false, 0 and 1.
- string: text that has a form in UTF-8, without NUL: the page's runtime takes C strings, which end there.

`nesting` flattens nested lists, `numbers` and `strings` judge their elements, `refusal` words what is wrong.
"""
