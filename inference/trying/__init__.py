"""A model tried by a person: what inputs are offered as, what outputs are shown as, and the code for it.

fields.py   which input is a text, a picture, a sound, a tensor
inputs.py   from what was typed or dropped to tensors
asking.py   run it, and tell what became of it
showing.py  an output as labels, a picture or a vector
code.py     the same request in Python, curl and JavaScript
"""
