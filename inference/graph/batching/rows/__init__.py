"""Whether the rows of a batch are computed each for itself, proved from the graph alone.

1. `sizes` counts: a size is a number times symbols, one of which is the number of rows.
2. `values` says what is known of a tensor: its sizes, along which axis its rows lie, or why they meet.
3. The rules of an operator (`elementwise`, `products`, `shaping`, `lookups`, `layers`, `attention`,
   `features`) say where the rows of its outputs lie, and `counting` follows integers that are only sizes.
4. `proof` walks the graph. What no rule knows is not proved; nothing is guessed.
"""
