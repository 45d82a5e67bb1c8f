"""A web server that speaks the vendors' wire protocols, over an invented world whose truth is known.

It shares no code with `visibility`, so that a misunderstanding is not made twice. See docs/sandbox.md.
"""
