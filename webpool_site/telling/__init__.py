"""How values are told, to people and to scripts. Every app may ask it; it knows none of them."""
