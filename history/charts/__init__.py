"""Pictures of history as SVG, drawn on the server: numbers in, markup out, colours by the page's style sheet.

Every text is escaped; every mark carries its value as a <title>, which browsers show under the pointer.
"""
